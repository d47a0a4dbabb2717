"""A double of MinIO: moto's storage behind an aiohttp front that has MinIO's rules, its events, and its bad days."""

from __future__ import annotations

from tests.minio_double.double import MinioDouble
from tests.minio_double.knobs import Knobs
from tests.minio_double.state import Logged

__all__ = ["Knobs", "Logged", "MinioDouble"]
