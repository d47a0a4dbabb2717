"""Every error of ComfyGen, as one tree.

::

    ComfyGenError                     what went wrong, where, and what to do about it (`hint`)
    ├── InvalidInput                  what a person wrote cannot be used; carries every mistake at once
    │   ├── RequestInvalid            a request file
    │   ├── PresetsInvalid            presets.yaml
    │   ├── WorkflowInvalid           a workflow file, or a parameter that has no place in its graph
    │   ├── ConfigInvalid             the configuration file or its environment
    │   └── KeyInvalid                an object key that a store would refuse
    ├── NotFound                      something that was named does not exist
    ├── ComfyUIError                  the ComfyUI side
    │   ├── ComfyUIUnavailable        it cannot be reached, or answers 5xx                 (retryable)
    │   ├── PreflightFailed           the server lacks a node class, a model, a LoRA, an option
    │   ├── PromptRefused             POST /prompt said no; carries node_errors
    │   ├── ExecutionFailed           a node raised while running
    │   │   └── OutOfMemory           … for lack of memory                                 (retryable)
    │   ├── PromptInterrupted         someone interrupted it                               (retryable)
    │   ├── PromptLost                neither queued, running nor in history               (retryable)
    │   ├── PromptStalled             no progress for too long                             (retryable)
    │   └── OutputMissing             it ended well, but a file is gone, empty or broken   (retryable)
    ├── StoreError                    the storage side
    │   ├── StoreUnavailable          it cannot be reached, or answers 5xx / 429           (retryable)
    │   ├── StoreFull                 no space left                                        (retryable)
    │   ├── StoreDenied               credentials, policy or clock
    │   ├── NoSuchKey                 that object does not exist
    │   ├── NoSuchBucket              the bucket itself does not exist
    │   └── PreconditionFailed        a conditional write lost
    ├── InboxError                    a file of the inbox cannot be taken
    ├── LedgerError                   queue.db cannot be used
    └── HistoryError                  index.db cannot be used
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake, placed: `file`, `line` (1-based) and `field` as far as they are known.

    `message` says what is wrong, `allowed` what would be right, `hint` what to do ("did you mean …?").
    """

    message: str
    file: str | None = None
    line: int | None = None
    field: str | None = None
    allowed: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = ": ".join(part for part in (place, self.field, self.message) if part)
        tail = [f"Allowed: {self.allowed}." if self.allowed else "", self.hint or ""]
        return " ".join([head, *(part for part in tail if part)])

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


class ComfyGenError(Exception):
    """Something went wrong in ComfyGen."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, hint: str | None = None, field: str | None = None) -> None:
        """`field` is the key that it is about, where that is known."""
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint, self.field = hint, field
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def to_json(self) -> dict[str, Any]:
        """The error as an `.error.json` tells it; subclasses add what they know."""
        plain = {"code": self.code, "message": self.message, "hint": self.hint, "retryable": self.retryable}
        return {key: value for key, value in plain.items() if value is not None}


class Listing(ComfyGenError):
    """Something is wrong, in more than one place perhaps: `problems` has every mistake."""

    def __init__(
        self, message: str | None = None, *, problems: Iterable[Problem] = (), hint: str | None = None
    ) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__("\n".join(part for part in (message, lines) if part) or None, hint=hint)
        self.headline = message

    def to_json(self) -> dict[str, Any]:
        plain = super().to_json()
        if self.problems:
            plain["message"] = self.headline or self.problems[0].message
            plain["problems"] = [problem.to_json() for problem in self.problems]
        return plain


class InvalidInput(Listing):
    """What was written cannot be used."""

    code = "invalid"


class RequestInvalid(InvalidInput):
    """The request cannot be used."""

    code = "request_invalid"


class PresetsInvalid(InvalidInput):
    """The presets file cannot be used."""

    code = "presets_invalid"


class WorkflowInvalid(InvalidInput):
    """The workflow cannot be used for this request."""

    code = "workflow_invalid"


class ConfigInvalid(InvalidInput):
    """The configuration cannot be used."""

    code = "config_invalid"


class KeyInvalid(InvalidInput):
    """The object key would be refused by a store."""

    code = "key_invalid"


class NotFound(ComfyGenError):
    """What was named does not exist."""

    code = "not_found"


class ComfyUIError(ComfyGenError):
    """ComfyUI did not do what it was asked."""

    code = "comfyui"


class ComfyUIUnavailable(ComfyUIError):
    """ComfyUI cannot be reached."""

    code = "comfyui_unavailable"
    retryable = True


class PreflightFailed(Listing, ComfyUIError):
    """This ComfyUI lacks something the graph needs; nothing was submitted."""

    code = "preflight_failed"


class PromptRefused(ComfyUIError):
    """ComfyUI refused the prompt."""

    code = "prompt_refused"

    def __init__(
        self, message: str | None = None, *, node_errors: dict[str, Any] | None = None, hint: str | None = None
    ) -> None:
        self.node_errors = node_errors or {}
        super().__init__(message, hint=hint)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"node_errors": self.node_errors}


class ExecutionFailed(ComfyUIError):
    """A node failed while the prompt ran."""

    code = "execution_failed"

    def __init__(
        self,
        message: str | None = None,
        *,
        node_id: str = "",
        node_type: str = "",
        exception_type: str = "",
        traceback: Iterable[str] = (),
        hint: str | None = None,
    ) -> None:
        self.node_id, self.node_type, self.exception_type = node_id, node_type, exception_type
        self.traceback = tuple(traceback)
        super().__init__(message, hint=hint)

    def to_json(self) -> dict[str, Any]:
        node = {"node_id": self.node_id, "node_type": self.node_type, "exception_type": self.exception_type}
        return super().to_json() | node | {"traceback": list(self.traceback)}


class OutOfMemory(ExecutionFailed):
    """A node ran out of memory."""

    code = "out_of_memory"
    retryable = True


class PromptInterrupted(ComfyUIError):
    """The prompt was interrupted by someone else."""

    code = "interrupted"
    retryable = True


class PromptLost(ComfyUIError):
    """ComfyUI no longer knows the prompt: it was restarted, or its queue was cleared."""

    code = "prompt_lost"
    retryable = True


class PromptStalled(ComfyUIError):
    """The prompt made no progress for too long."""

    code = "stalled"
    retryable = True


class OutputMissing(ComfyUIError):
    """The prompt ended, but an output is missing or broken."""

    code = "output_missing"
    retryable = True


class StoreError(ComfyGenError):
    """The store did not do what it was asked."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store cannot be reached."""

    code = "store_unavailable"
    retryable = True


class StoreFull(StoreError):
    """The store has no space left."""

    code = "store_full"
    retryable = True


class StoreDenied(StoreError):
    """The store refused the credentials or the action."""

    code = "store_denied"


class NoSuchKey(StoreError):
    """The object does not exist."""

    code = "no_such_key"


class NoSuchBucket(StoreError):
    """The bucket does not exist."""

    code = "no_such_bucket"


class PreconditionFailed(StoreError):
    """Another writer was first."""

    code = "precondition_failed"


class InboxError(ComfyGenError):
    """The inbox cannot be used."""

    code = "inbox"


class LedgerError(ComfyGenError):
    """The ledger (queue.db) cannot be used."""

    code = "ledger"


class HistoryError(ComfyGenError):
    """The index (index.db) cannot be used."""

    code = "index"
