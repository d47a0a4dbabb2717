"""Cancel requests: a file with the single key `cancel` takes an earlier request, or one job of it, back."""

from __future__ import annotations

from collections.abc import Mapping

from comfygen.documents import Document, load_documents
from comfygen.errors import InvalidInput, Problem, RequestInvalid

ALLOWED = "the id of a request or of a job, or the `id` of an earlier request"
MAX_LENGTH = 128


def parse_cancel(text: bytes, *, file: str) -> str | None:
    """What a file wants cancelled; None for every other file. Raises RequestInvalid for a `cancel` that is mixed up."""
    try:
        documents = load_documents(text, file=file)
    except InvalidInput:
        return None  # whoever parses it as a request says what is wrong
    asking = [document for document in documents if isinstance(document.value, Mapping) and "cancel" in document.value]
    if not asking:
        return None
    problems = [problem for document in asking for problem in _problems(document, len(documents), file)]
    if problems:
        raise RequestInvalid("The request cannot be used: 1 mistake.", problems=problems[:1])
    return str(_value(asking[0])).strip()


def _value(document: Document) -> object:
    return document.value["cancel"] if isinstance(document.value, Mapping) else None


def _problems(document: Document, documents: int, file: str) -> list[Problem]:
    value, line = _value(document), document.line(("cancel",))
    others = len(document.value) > 1 if isinstance(document.value, Mapping) else False
    if others or documents > 1:
        message, hint = "stands alone in its file.", "Put each `cancel` into a file of its own."
        return [Problem(file=file, line=line, field="cancel", message=message, hint=hint)]
    is_text = isinstance(value, str) and value.strip() and len(value) <= MAX_LENGTH
    if not is_text and (isinstance(value, bool) or not isinstance(value, int)):
        return [Problem(file=file, line=line, field="cancel", message="names nothing.", allowed=ALLOWED)]
    return []
