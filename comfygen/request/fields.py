"""The kinds of values that a request file may hold: each checks itself and says in plain words what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from comfygen.documents import quoted, shown

MAX_SEED: Final = 2**64 - 1
MIN_SIDE: Final = 16
MAX_SIDE: Final = 16384
MAX_NAME: Final = 128
MAX_FILE_NAME: Final = 255
MAX_REFERENCE: Final = 1024
MAX_TIMEOUT: Final = 7 * 24 * 3600
OWN: Final = "comfygen"  # the pydantic error type of every complaint made here
# Folders of the inbox, and device names that a store on a Windows share cannot hold.
RESERVED: Final = frozenset(
    ["requests", "work", "done", "failed", "con", "prn", "aux", "nul"]
    + [f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10)]
)
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SIZE = re.compile(r"([0-9]{1,6})[xX]([0-9]{1,6})")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


def wrong(message: str, *, hint: str = "") -> PydanticCustomError:
    """A complaint that pydantic carries to where the value stands; the sentence is ready for people."""
    return PydanticCustomError(OWN, "{message}", {"message": message, "hint": hint})


def clean_text(text: str) -> str:
    """Text that ComfyUI, JSON and a terminal take unharmed: line breaks and tabs are the only control characters."""
    text = text.replace("\r\n", "\n")
    if found := _HARMFUL.search(text):
        code = f"U+{ord(found[0]):04X}"
        name = (
            "half a surrogate pair" if found[0] >= "\ud800" else "an escape sequence" if found[0] in "\x1b\x9b" else ""
        )
        name = f"{name} ({code})" if name else f"the control character {code}"
        raise wrong(f"has {name} at character {found.start() + 1}.", hint="Remove it.")
    return text


def prompt_text(text: str) -> str:
    """A clean text that says something."""
    if not text.strip():
        raise wrong("must not be empty.")
    return clean_text(text)


def one_line(limit: int) -> Callable[[str], str]:
    """A check for short texts: one line of 1..limit characters without blanks at its ends."""

    def check(text: str) -> str:
        if not text.strip():
            raise wrong("must not be empty.")
        clean_text(text)
        if len(text) > limit:
            raise wrong(f"has {len(text)} characters; at most {limit} are possible.")
        if len(text.splitlines()) > 1 or "\t" in text or text != text.strip():
            raise wrong("must be one line without tabs, and without blanks at its ends.")
        return text

    return check


def file_name(text: str) -> str:
    """A bare file name: no folders, nothing hidden."""
    one_line(MAX_FILE_NAME)(text)
    if "/" in text or "\\" in text:
        last = re.split(r"[/\\]", text)[-1]
        hint = f"Write {quoted(last)}." if last.strip(".") else ""
        raise wrong("must be a bare file name, without a folder.", hint=hint)
    if text.startswith("."):
        raise wrong("must not start with a dot.")
    return text


def workflow_name(text: str) -> str:
    """The name of a file in the workflows folder, with or without `.json`."""
    if ".." in file_name(text):
        raise wrong('must not contain "..".')
    return text


def output_name(text: str) -> str:
    """The name that a person wants to find the output by; the extension is optional."""
    if file_name(text).split(".")[0].strip().lower() in RESERVED:
        raise wrong(f"{quoted(text)} is a reserved name.", hint="Choose another one.")
    return text


def random_seed(value: object) -> object:
    """In a file, -1 asks for a random seed just as leaving the key out does."""
    return None if type(value) is int and value == -1 else value


def size(value: object) -> tuple[int, int]:
    """`WxH` as numbers."""
    if isinstance(value, tuple) and len(value) == 2:
        value = f"{value[0]}x{value[1]}"
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(f"must be WIDTHxHEIGHT, not {shown(value)}.", hint="Write 1024x768, for example.")
    width, height = int(match[1]), int(match[2])
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
        raise wrong(f"is {width}x{height}; each side must have {MIN_SIDE} to {MAX_SIDE} pixels.")
    return width, height


def moment(value: object) -> datetime:
    """An ISO 8601 time as UTC; one without an offset is UTC already."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime):
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise wrong(f"{quoted(str(value))} is no date and time.", hint="Write 2026-05-01T20:00:00Z.") from error
    raise wrong(f"must be a date and time, not {shown(value)}.", hint="Write 2026-05-01T20:00:00Z.")


def seconds(value: object) -> object:
    """A duration: seconds as they are, `90s`, `10m` and `2h` as seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value)
    if match is None:
        raise wrong(f"{quoted(value)} is no duration.", hint="Write seconds as a number, or 90s, 10m, 2h.")
    return float(match[1]) * _SECONDS[match[2]]


def as_tuple(value: object) -> object:
    """A list of a file as the tuple that a frozen value holds."""
    return tuple(value) if isinstance(value, list) else value


Prompt = Annotated[str, AfterValidator(prompt_text)]
Text = Annotated[str, AfterValidator(clean_text)]
Name = Annotated[str, AfterValidator(one_line(MAX_NAME))]
Reference = Annotated[str, AfterValidator(one_line(MAX_REFERENCE))]
WorkflowName = Annotated[str, AfterValidator(workflow_name)]
OutputName = Annotated[str, AfterValidator(output_name)]
Steps = Annotated[int, Field(ge=1, le=10_000)]
Cfg = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Frames = Annotated[int, Field(ge=1, le=100_000)]
Fps = Annotated[float, Field(gt=0, le=240, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]
Seed = Annotated[Annotated[int, Field(ge=0, le=MAX_SEED)] | None, BeforeValidator(random_seed)]
Size = Annotated[tuple[int, int], BeforeValidator(size), PlainSerializer(lambda pair: f"{pair[0]}x{pair[1]}")]
Moment = Annotated[datetime, BeforeValidator(moment)]
Seconds = Annotated[float, Field(gt=0, le=MAX_TIMEOUT, allow_inf_nan=False), BeforeValidator(seconds)]
