"""Finding: one thing that was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """How something is. Only BAD makes the doctor's exit code 1."""

    OK = "ok"
    WARN = "warn"  # it works, but somebody should know
    BAD = "BAD"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found. Whatever is not ok has a remedy."""

    check: str
    state: State
    message: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """For people: the finding, and below it what to do."""
        first, *more = self.message.splitlines() or [""]
        told = [f"{self.state:<5} {self.check}: {first}", *(f"      {line.strip()}" for line in more)]
        return [*told, f"      -> {self.remedy}"] if self.remedy else told


def well(check: str, message: str) -> Finding:
    return Finding(check=check, state=State.OK, message=message)


def warn(check: str, message: str, remedy: str) -> Finding:
    return Finding(check=check, state=State.WARN, message=message, remedy=remedy)


def bad(check: str, message: str, remedy: str) -> Finding:
    return Finding(check=check, state=State.BAD, message=message, remedy=remedy)
