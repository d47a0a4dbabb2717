"""The states of requests and jobs, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class RequestState(StrEnum):
    """Where a request file stands."""

    RECEIVED = "received"  # its bytes are in the ledger
    ACCEPTED = "accepted"  # its jobs and their plans are in the ledger
    DONE = "done"  # every job is published
    FAILED = "failed"  # refused, or a job failed
    CANCELLED = "cancelled"  # taken back by a person


class JobState(StrEnum):
    """Where a job, one ComfyUI prompt, stands."""

    QUEUED = "queued"  # waiting for a backend, or about to be submitted to one
    SUBMITTED = "submitted"  # a backend has acknowledged it
    GENERATED = "generated"  # its outputs are in the spool; the GPU is never asked again
    PUBLISHED = "published"  # outputs and sidecars are in the store; straight from queued, if inherited
    FAILED = "failed"  # it will not be tried again
    CANCELLED = "cancelled"  # taken back by a person


REQUEST_STEPS: dict[RequestState, set[RequestState]] = {
    RequestState.RECEIVED: {RequestState.ACCEPTED, RequestState.DONE, RequestState.FAILED, RequestState.CANCELLED},
    RequestState.ACCEPTED: {RequestState.DONE, RequestState.FAILED, RequestState.CANCELLED},
}
JOB_STEPS: dict[JobState, set[JobState]] = {
    JobState.QUEUED: {JobState.SUBMITTED, JobState.GENERATED, JobState.PUBLISHED, JobState.FAILED, JobState.CANCELLED},
    JobState.SUBMITTED: {JobState.QUEUED, JobState.GENERATED, JobState.FAILED, JobState.CANCELLED},
    JobState.GENERATED: {JobState.QUEUED, JobState.PUBLISHED, JobState.FAILED, JobState.CANCELLED},
}
OPEN_REQUESTS = (RequestState.RECEIVED, RequestState.ACCEPTED)
OPEN_JOBS = (JobState.QUEUED, JobState.SUBMITTED, JobState.GENERATED)
