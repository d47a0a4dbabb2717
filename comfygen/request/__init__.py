"""Request: what a person asked for; request files parsed, validated, expanded, written and described."""

from comfygen.request.cancel import parse_cancel
from comfygen.request.check import MAX_JOBS, is_workflow
from comfygen.request.expand import expand, jobs_of
from comfygen.request.file import parse_requests, place_problems, request_yaml
from comfygen.request.keys import KEYS, LORA_KEYS, MATRIX_KEYS, Key
from comfygen.request.loras import lora_json, lora_text, parse_lora
from comfygen.request.model import Request
from comfygen.request.schema import request_schema

__all__ = [
    "KEYS",
    "LORA_KEYS",
    "MATRIX_KEYS",
    "MAX_JOBS",
    "Key",
    "Request",
    "expand",
    "is_workflow",
    "jobs_of",
    "lora_json",
    "lora_text",
    "parse_cancel",
    "parse_lora",
    "parse_requests",
    "place_problems",
    "request_schema",
    "request_yaml",
]
