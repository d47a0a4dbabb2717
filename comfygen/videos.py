"""Videos: write MP4, WebM, GIF from RGB frames, look inside, take the first frame. The only place that knows PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast

from comfygen.errors import ComfyGenError, OutputMissing

if TYPE_CHECKING:  # PyAV brings the whole of FFmpeg: it is imported when the first video turns up
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

WEBM_CODECS = {
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "32"}),
    "av1": ("libsvtav1", {"preset": "11", "crf": "40"}),
}
MAX_FPS = 1000
CONTAINERS = "mov,mp4,matroska,webm,avi,gif"  # no playlists: they would make FFmpeg open further files


class VideoUnusable(ComfyGenError):
    """The video cannot be written."""

    code: ClassVar[str] = "video_unusable"


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What a video file is, counted while decoding it: `duration` in seconds, `codec` in FFmpeg's words ("h264")."""

    width: int
    height: int
    frames: int
    fps: float
    duration: float
    codec: str


def encode_mp4(
    frames: Iterable[bytes], fps: float, *, width: int, height: int, metadata: Mapping[str, str] | None = None
) -> bytes:
    """An H.264 MP4 of `width` x `height` RGB frames (both even); `metadata` keeps its own keys, as ComfyUI does.

    Raises VideoUnusable when there is no frame, or one of the wrong size.
    """
    options = {"movflags": "use_metadata_tags"}
    codec = {"preset": "ultrafast", "crf": "20", "threads": "2"}
    return _encoded(frames, fps, (width, height), ("mp4", "libx264", options, codec), metadata)


def encode_webm(
    frames: Iterable[bytes],
    fps: float,
    *,
    width: int,
    height: int,
    codec: str = "vp9",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A WebM (`codec` vp9 or av1); Matroska writes the keys of `metadata` in capitals. Raises as `encode_mp4` does."""
    if codec not in WEBM_CODECS:
        raise VideoUnusable(f"A WebM holds no {codec!r}.", hint=f"Allowed: {', '.join(WEBM_CODECS)}.")
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 writes a page to stderr for every video unless this forbids it
    encoder, options = WEBM_CODECS[codec]
    return _encoded(frames, fps, (width, height), ("webm", encoder, {}, options), metadata)


def encode_gif(frames: Iterable[bytes], fps: float, *, width: int, height: int) -> bytes:
    """A GIF, in the 256 colours of 3 bits red, 3 green, 2 blue. Raises as `encode_mp4` does."""
    return _encoded(frames, fps, (width, height), ("gif", "gif", {}, {}), None, pixels="rgb8")


def probe(path: Path) -> VideoFacts:
    """What the video is, after decoding every frame of it. Raises OutputMissing if it is empty, broken or cut off."""
    with _opened(path) as (container, stream):
        announced, last, frames = stream.frames, None, 0
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise OutputMissing(f"{path.name}: frame {frames + 1} is damaged.")
            frames, last = frames + 1, frame
        if last is None or frames < announced:
            raise OutputMissing(f"{path.name}: {frames} of {announced or 'its'} frames can be decoded.")
        fps = float(stream.average_rate or 0)
        return VideoFacts(
            width=last.width,
            height=last.height,
            frames=frames,
            fps=fps,
            duration=frames / fps if fps else 0.0,
            codec=stream.codec_context.codec.canonical_name,
        )


def poster(path: Path) -> bytes:
    """The first frame as a PNG. Raises OutputMissing if there is none."""
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise OutputMissing(f"{path.name} has no frame.")
        return _png(first)


def metadata_of(path: Path) -> dict[str, str]:
    """The container's own metadata (`prompt`, `workflow`, …), keys as they stand in the file."""
    with _opened(path) as (container, _):
        return dict(container.metadata)


def _encoded(
    frames: Iterable[bytes],
    fps: float,
    size: tuple[int, int],
    how: tuple[str, str, dict[str, str], dict[str, str]],
    metadata: Mapping[str, str] | None,
    *,
    pixels: str = "yuv420p",
) -> bytes:
    import av

    kind, codec, options, codec_options = how
    _check(size, fps)
    target = BytesIO()
    with _translated(VideoUnusable, "The video cannot be written"):
        same = {"fflags": "+bitexact"}  # no random track ids, no version: equal frames give equal bytes
        with av.open(target, "w", format=kind, options=options | same) as container:
            container.metadata.update(metadata or {})
            rate = Fraction(fps).limit_denominator(1001)
            stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=codec_options))
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            _write(container, stream, frames, size)
        return target.getvalue()


def _check(size: tuple[int, int], fps: float) -> None:
    if not 0 < fps <= MAX_FPS:
        raise VideoUnusable(f"A video of {fps} frames per second cannot be shown.")
    if min(size) < 2 or size[0] % 2 or size[1] % 2:
        raise VideoUnusable(f"A video cannot be {size[0]}x{size[1]}.", hint="Both numbers must be even.")


def _write(container: OutputContainer, stream: VideoStream, frames: Iterable[bytes], size: tuple[int, int]) -> None:
    count = 0
    for rgb in frames:
        frame = _frame(rgb, size).reformat(format=stream.pix_fmt)
        frame.pts = count
        container.mux(stream.encode(frame))
        count += 1
    if not count:
        raise VideoUnusable("A video needs at least one frame.")
    container.mux(stream.encode(None))


def _frame(rgb: bytes, size: tuple[int, int]) -> VideoFrame:
    from av import VideoFrame

    width, height = size
    row = width * 3
    if len(rgb) != row * height:
        raise VideoUnusable(f"A frame of {width}x{height} needs {row * height} bytes, not {len(rgb)}.")
    frame = VideoFrame(width, height, "rgb24")
    plane = frame.planes[0]
    if padding := bytes(plane.line_size - row):  # FFmpeg aligns its rows
        rgb = b"".join(rgb[at : at + row] + padding for at in range(0, len(rgb), row))
    plane.update(rgb)
    return frame


def _check_length(path: Path) -> None:
    """Refuse a file that is shorter than its own structure says: FFmpeg plays what is there and does not complain."""
    with path.open("rb") as file:
        size, head = path.stat().st_size, file.read(12)
        if head[4:8] == b"ftyp":
            promised = _end_of_boxes(file, size)
        elif head.startswith(b"\x1a\x45\xdf\xa3"):
            promised = _end_of_segment(file)
        else:
            promised = size
    if promised > size:
        raise OutputMissing(f"{path.name} is cut off: {size} of {promised} bytes.")


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last top-level box of an MP4 ends; each starts with its length."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        at += length if length >= 8 else size  # 0 means "to the end"
    return at


def _end_of_segment(file: BinaryIO) -> int:
    """Where the Segment of a Matroska file ends; 0 when it does not say (a live recording)."""
    at = 0
    for _ in range(2):  # the EBML head, then the Segment
        file.seek(at + 4)
        head = file.read(8)
        width = 9 - head[0].bit_length() if head and head[0] else 8
        length = int.from_bytes(head[:width], "big") & ((1 << (7 * width)) - 1)
        at, unknown = at + 4 + width + length, length == (1 << (7 * width)) - 1
    return 0 if unknown else at


def _png(frame: VideoFrame) -> bytes:
    from av import CodecContext

    video = CodecContext.create("png", "w")
    video.width, video.height, video.pix_fmt, video.time_base = frame.width, frame.height, "rgb24", Fraction(1, 1)
    still = frame.reformat(format="rgb24")
    still.pts = 0
    return b"".join(bytes(packet) for packet in [*video.encode(still), *video.encode(None)])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av

    with _translated(OutputMissing, f"{path.name} is no video that can be read"):
        _check_length(path)
        with av.open(str(path), "r", options={"format_whitelist": CONTAINERS}) as container:
            if not container.streams.video:
                raise OutputMissing(f"{path.name} holds no video.")
            stream = container.streams.video[0]
            stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream


@contextmanager
def _translated(kind: type[ComfyGenError], what: str) -> Iterator[None]:
    """Whatever FFmpeg says inside leaves as our own error: `av.FFmpegError` is the root of all of PyAV's."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError) as exc:
        raise kind(f"{what}: {exc.strerror or exc}.") from exc
