"""Request files: text -> requests with every mistake at once, and a request -> the file that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comfygen.documents import Document, dump_document, read_documents
from comfygen.errors import InvalidInput, Problem, RequestInvalid
from comfygen.request.check import MAX_JOBS, checked
from comfygen.request.expand import jobs_of
from comfygen.request.keys import allowed_at
from comfygen.request.loras import lora_text
from comfygen.request.mistakes import MAX_MISTAKES, Mistake
from comfygen.request.model import Request


def parse_requests(text: bytes, *, file: str) -> tuple[Request, ...]:
    """The requests of a file, one per document. Raises RequestInvalid with all mistakes of all documents."""
    try:
        documents = read_documents(text, file=file)
    except InvalidInput as error:
        raise RequestInvalid(_headline(len(error.problems)), problems=error.problems) from error
    if not documents:
        raise RequestInvalid(
            _headline(1), problems=[Problem(file=file, line=1, message="the file is empty.", hint=_START)]
        )
    requests: list[Request] = []
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        request, found = _request(document, number if len(documents) > 1 else 0, file)
        problems += found
        requests += [request] if request else []
    problems = problems or _too_many(requests, file)
    if problems:
        raise RequestInvalid(_headline(len(problems)), problems=_first(problems, file))
    return tuple(requests)


_START = "Write at least `workflow: …` and `prompt: …`."


def _request(document: Document, number: int, file: str) -> tuple[Request | None, list[Problem]]:
    """One document as a request, or everything that is wrong with it from top to bottom."""
    if document.value is None:
        message = f"document {number} is empty." if number else "the file is empty."
        hint = "Remove one of the `---` around it." if number else _START
        return None, [Mistake(path=(), message=message, hint=hint).problem(document, file)]
    request, mistakes = checked(Request, document.value)
    fresh = [mistake.problem(document, file) for mistake in mistakes if not document.doubts(mistake.path)]
    explained = {id(problem): replace(problem, allowed=allowed_at(path)) for path, problem in document.refused.items()}
    known = [explained.get(id(problem), problem) for problem in document.mistakes]
    return request, sorted([*known, *fresh], key=lambda problem: problem.line or 0)


def _too_many(requests: list[Request], file: str) -> list[Problem]:
    """A file is one drop into the inbox: all its documents together stay within the cap, too."""
    jobs = sum(jobs_of(request) for request in requests)
    if jobs <= MAX_JOBS:
        return []
    message = f"its {len(requests)} documents make {jobs} jobs."
    return [Problem(file=file, line=1, message=message, allowed=f"at most {MAX_JOBS} jobs", hint="Split the file.")]


def _first(problems: list[Problem], file: str) -> list[Problem]:
    """As many as anyone reads, and how many more there are."""
    if len(problems) <= MAX_MISTAKES:
        return problems
    return [
        *problems[:MAX_MISTAKES],
        Problem(file=file, message=f"… and {len(problems) - MAX_MISTAKES} more mistakes."),
    ]


def _headline(count: int) -> str:
    return "The request cannot be used: 1 mistake." if count == 1 else f"The request cannot be used: {count} mistakes."


def place_problems(found: Sequence[tuple[int, Problem]], text: bytes, *, file: str) -> list[Problem]:
    """Mistakes that were found in requests later, each once, with its file and the line of its field.

    Each comes with the number (from 0) of its document in `text`, which the requests were parsed from. One that has a
    file already is about that one.
    """
    documents = read_documents(text, file=file)
    placed = [
        problem if problem.file else replace(problem, file=file, line=documents[number].line(_path(problem)))
        for number, problem in found
    ]
    return list(dict.fromkeys(placed))


def _path(problem: Problem) -> tuple[str, ...]:
    return (problem.field,) if problem.field else ()


def request_yaml(request: Request) -> str:
    """A request file that parses back to an equal request."""
    plain = request.to_json()
    if request.loras:
        plain["loras"] = [lora_text(lora) for lora in request.loras]
    return dump_document(plain)
