"""Store on MinIO and S3, with live notifications."""

from __future__ import annotations

from comfygen.minio_client.bucket_setup import ConditionalWrites
from comfygen.minio_client.minio_store import MinioStore
from comfygen.minio_client.notifications import Notifications
from comfygen.minio_client.settings import ListenSettings, StoreSettings, Timing
from comfygen.minio_client.state import Listening, ListenState

__all__ = [
    "ConditionalWrites",
    "ListenSettings",
    "ListenState",
    "Listening",
    "MinioStore",
    "Notifications",
    "StoreSettings",
    "Timing",
]
