"""Videos: what is written can be read again with the same facts, and what is broken is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfygen.errors import OutputMissing
from comfygen.images import decode
from comfygen.videos import (
    VideoFacts,
    VideoUnusable,
    encode_gif,
    encode_mp4,
    encode_webm,
    metadata_of,
    poster,
    probe,
)

Encode = Callable[..., bytes]
ENCODERS: list[tuple[Encode, str]] = [(encode_mp4, "h264"), (encode_webm, "vp9"), (encode_gif, "gif")]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n"


def shades(count: int, width: int = 64, height: int = 48) -> list[bytes]:
    """Grey frames that get lighter."""
    return [bytes([10 + 200 * number // max(1, count)]) * (width * height * 3) for number in range(count)]


def noise(count: int) -> list[bytes]:
    """Frames that compress badly, so that a video has bytes to lose."""
    return [bytes((x * x * (n + 3) + x // 7) % 256 for x in range(64 * 48 * 3)) for n in range(count)]


@pytest.mark.parametrize(("encode", "codec"), ENCODERS, ids=lambda value: getattr(value, "__name__", value))
def test_written_video_has_the_facts_it_was_given(encode: Encode, codec: str, tmp_path: Path) -> None:
    """Size, number of frames, rate, duration and codec come back."""
    (tmp_path / "v").write_bytes(encode(shades(5), 10, width=64, height=48))
    expected = VideoFacts(width=64, height=48, frames=5, fps=10.0, duration=0.5, codec=codec)
    assert probe(tmp_path / "v") == expected


def test_av1_is_written_too(tmp_path: Path) -> None:
    """A WebM may hold AV1."""
    (tmp_path / "v").write_bytes(encode_webm(shades(3), 8, width=64, height=64 - 16, codec="av1"))
    assert (probe(tmp_path / "v").codec, probe(tmp_path / "v").frames) == ("av1", 3)


@pytest.mark.parametrize("encode", [encode_mp4, encode_webm, encode_gif])
def test_equal_frames_give_equal_bytes(encode: Encode) -> None:
    """Nothing random and no version stands in the file."""
    assert encode(shades(3), 8, width=64, height=48) == encode(shades(3), 8, width=64, height=48)


@pytest.mark.parametrize(("encode", "key"), [(encode_mp4, "prompt"), (encode_webm, "PROMPT")])
def test_metadata_travels_inside(encode: Encode, key: str, tmp_path: Path) -> None:
    """The text comes back under its key, whatever letters it has."""
    (tmp_path / "v").write_bytes(encode(shades(1), 8, width=64, height=48, metadata={"prompt": '{"1": "früh"}'}))
    assert metadata_of(tmp_path / "v")[key] == '{"1": "früh"}'


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(8, 60).map(lambda half: half * 2),
    height=st.integers(8, 60).map(lambda half: half * 2),
    count=st.integers(1, 6),
    fps=st.sampled_from([1.0, 7.5, 8.0, 23.976, 30.0]),
)
def test_any_even_size_and_rate_round_trips(width: int, height: int, count: int, fps: float, tmp_path: Path) -> None:
    """Rows that FFmpeg pads, odd rates and single frames are all written right."""
    (tmp_path / "v").write_bytes(encode_mp4(shades(count, width, height), fps, width=width, height=height))
    facts = probe(tmp_path / "v")
    assert (facts.width, facts.height, facts.frames) == (width, height, count)
    assert facts.fps == pytest.approx(fps, rel=1e-4)


def test_poster_is_the_first_frame_as_png(tmp_path: Path) -> None:
    """The PNG has the video's size and, nearly, the first frame's shade."""
    (tmp_path / "v").write_bytes(encode_mp4(shades(4, 70, 48), 8, width=70, height=48))
    picture = decode(poster(tmp_path / "v"))
    assert (picture.width, picture.height) == (70, 48)
    assert abs(picture.rgb[len(picture.rgb) // 2] - 10) < 6


@pytest.mark.parametrize("encode", [encode_mp4, encode_webm])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_video_that_is_cut_off_is_told(encode: Encode, keep: float, tmp_path: Path) -> None:
    """However little is missing at the end, the file is no output."""
    whole = encode(noise(12), 8, width=64, height=48)
    (tmp_path / "v").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(OutputMissing):
        probe(tmp_path / "v")


def test_video_that_is_damaged_inside_is_told(tmp_path: Path) -> None:
    """Overwritten frames do not decode, though the file has its full length."""
    whole = bytearray(encode_mp4(noise(12), 8, width=64, height=48))
    middle = len(whole) // 2
    whole[middle : middle + 3000] = b"\xff" * 3000
    (tmp_path / "v").write_bytes(whole)
    with pytest.raises(OutputMissing):
        probe(tmp_path / "v")


@pytest.mark.parametrize(
    "content", [b"", b"not a video", b"\x89PNG\r\n\x1a\n", b"\x1a\x45\xdf\xa3", b"\0\0\0\x20ftyp", PLAYLIST]
)
@pytest.mark.parametrize("look", [probe, poster, metadata_of])
def test_file_that_is_no_video_is_told(look: Callable[[Path], object], content: bytes, tmp_path: Path) -> None:
    """Empty files, text and mere beginnings raise OutputMissing with the file's name."""
    (tmp_path / "made.mp4").write_bytes(content)
    with pytest.raises(OutputMissing, match=r"made\.mp4"):
        look(tmp_path / "made.mp4")


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """An absent file is a missing output as well."""
    with pytest.raises(OutputMissing):
        probe(tmp_path / "absent.mp4")


def test_live_recording_without_a_length_can_be_read(tmp_path: Path) -> None:
    """A Matroska segment of unknown length is no reason to refuse."""
    whole = encode_webm(shades(4), 8, width=64, height=48)
    at = whole.index(b"\x18\x53\x80\x67") + 4
    (tmp_path / "v").write_bytes(whole[:at] + b"\x01" + b"\xff" * 7 + whole[at + 8 :])
    assert probe(tmp_path / "v").frames == 4


@pytest.mark.parametrize(
    ("frames", "fps", "width", "height"),
    [
        ([], 8, 64, 48),
        (shades(1), 0, 64, 48),
        (shades(1), float("nan"), 64, 48),
        (shades(1), 1e6, 64, 48),
        (shades(1, 63, 48), 8, 63, 48),
        (shades(1, 64, 0), 8, 64, 0),
        ([bytes(7)], 8, 64, 48),
    ],
)
def test_video_that_cannot_be_written_is_told(frames: list[bytes], fps: float, width: int, height: int) -> None:
    """No frames, no rate, odd sizes and frames of another size are refused before FFmpeg stumbles."""
    with pytest.raises(VideoUnusable):
        encode_mp4(frames, fps, width=width, height=height)


def test_codec_that_webm_does_not_hold_is_told() -> None:
    """The error names what is allowed."""
    with pytest.raises(VideoUnusable, match="vp9, av1"):
        encode_webm(shades(1), 8, width=64, height=48, codec="h264")


def test_ffmpeg_is_imported_only_for_videos() -> None:
    """Importing the module does not import PyAV: start-up stays quick."""
    check = "import sys, comfygen.videos; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
