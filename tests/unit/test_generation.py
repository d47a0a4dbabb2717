"""Reading sidecars: every dialect becomes the same row."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfygen.generation import Generation, GenerationLora, media_type_of, read_sidecar

SIDECARS = Path(__file__).parents[1] / "data" / "sidecars"
FLAT_KEY = "20260104_011032_output.png"


def body_of(name: str) -> bytes:
    return (SIDECARS / name).read_bytes()


def read(key: str = f"{FLAT_KEY}.json", **keys: object) -> Generation:
    """The row of a small sidecar with these keys."""
    plain = {"timestamp": "2026-01-04T01:10:32Z", "prompt": "a lake", **keys}
    return read_sidecar(key, json.dumps(plain).encode())


def test_flat_sidecar_of_thirteen_keys() -> None:
    """The thirteen classic keys all arrive in the row; a time without a zone is UTC."""
    expected = Generation(
        key=FLAT_KEY,
        timestamp="2026-01-04T01:10:32.123456Z",
        prompt="a beautiful sunset over mountains",
        negative_prompt="bad quality, blurry, low resolution",
        workflow="flux-dev.json",
        seed=12345,
        steps=30,
        cfg=7.5,
        sampler="euler",
        scheduler="normal",
        loras=(GenerationLora(position=0, name="style-enhance.safetensors", strength=0.8),),
        preset="high-quality",
        validation_score=0.85,
        minio_url="http://192.168.1.215:9000/comfy-gen/20260104_011032_output.png",
        media_type="image/png",
        source="store",
        sidecar_etag="abc",
    )
    actual = read_sidecar(f"{FLAT_KEY}.json", body_of("flat.json"), etag="abc", source="store")
    assert expected == actual


def test_nested_sidecar() -> None:
    """The nested format says the same facts in groups."""
    expected = Generation(
        key="car.png",
        timestamp="2026-02-11T19:15:00.000000Z",
        prompt="a red car on an empty road",
        negative_prompt="crowd",
        workflow="sd15-basic.json",
        preset="balanced",
        seed=987654321,
        steps=20,
        cfg=7.0,
        sampler="euler_ancestral",
        scheduler="normal",
        validation_score=0.31,
        minio_url="http://192.168.1.215:9000/comfy-gen/20260211_191500_car.png",
        width=768,
        height=512,
        models=("v1-5-pruned-emaonly-fp16.safetensors",),
        loras=(GenerationLora(position=0, name="chrome.safetensors", strength=0.6),),
        tags=("road", "studio"),
        project="cars",
        id="3f0e5c0a-5d1c-4b8e-9d6e-0c6f5d1f7a11",
        request="batch-7",
        media_type="image/png",
        bytes=412345,
        run_seconds=14.25,
        attempts=2,
    )
    assert expected == read_sidecar("car.png.json", body_of("nested.json"))


def test_our_own_sidecar() -> None:
    """Our own sidecars fill every column; LoRA details win over the short list."""
    row = read_sidecar("20260301_120005_dancer-abcdefghjkmn_1.mp4.json", body_of("ours.json"))
    assert (row.id, row.request, row.job) == ("abcdefghjkmn_1", "7x2k4m6p8r0t", "abcdefghjkmn")
    assert (row.batch_index, row.batch_of, row.image_index, row.output_node) == (1, 2, 1, "9")
    assert (*(row.media_type, row.bytes, row.width, row.height, row.frames, row.fps),) == (
        "video/mp4",
        204800,
        848,
        480,
        81,
        8.0,
    )
    assert row.model == "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors"
    assert [lora.branch for lora in row.loras] == ["high", "low"]
    assert [lora.strength_clip for lora in row.loras] == [None, 0.5]
    assert (row.finished_at, row.started_at, row.run_seconds) == ("2026-03-01T12:02:05.000000Z", None, 119.5)
    assert (row.attempts, row.comfyui_version, row.comfygen_version, row.simulated) == (1, "0.3.64", "0.1.0", True)


def test_input_image_is_kept_as_canonical_json() -> None:
    """The input image is one JSON text with its five keys, in one order."""
    row = read(input_image={"name": "b.png", "source": "a.png", "height": 4, "width": 3, "sha256": "ff", "more": 1})
    assert row.input_image == '{"source":"a.png","name":"b.png","sha256":"ff","width":3,"height":4}'


def test_seed_is_exact() -> None:
    """The largest seed that ComfyUI knows keeps all its digits."""
    assert read_sidecar("a.mp4.json", body_of("ours.json")).seed == 2**64 - 1


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-07-01T12:00:00", "2026-07-01T12:00:00.000000Z"),
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00.000000Z"),
        ("2026-07-01T12:00:00.5+02:00", "2026-07-01T10:00:00.500000Z"),
        ("2026-07-01 12:00:00", "2026-07-01T12:00:00.000000Z"),
        ("0999-07-01T12:00:00Z", "0999-07-01T12:00:00.000000Z"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_times_are_utc_in_one_spelling(written: str, expected: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the zone of the machine, a time is spelled so that text order is the order of time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        actual = read(timestamp=written).timestamp
    time.tzset()
    assert actual == expected


def test_time_of_a_sidecar_without_one() -> None:
    """A sidecar that tells no time has the one that its key begins with."""
    assert read(key=f"old/{FLAT_KEY}.json", timestamp=None).timestamp == "2026-01-04T01:10:32.000000Z"


@pytest.mark.parametrize("key", [FLAT_KEY, f"{FLAT_KEY}.json"])
def test_either_key_is_understood(key: str) -> None:
    """The key of the output does as well as that of its sidecar."""
    row = read(key=key)
    assert (FLAT_KEY, f"{FLAT_KEY}.json") == (row.key, row.sidecar_key)


def test_absent_values_are_unknown() -> None:
    """What a sidecar does not tell is None; only the negative prompt is empty instead."""
    row = read(negative_prompt=None, loras=None)
    assert (*(row.negative_prompt, row.seed, row.loras, row.models, row.input_image, row.simulated),) == (
        "",
        None,
        (),
        (),
        None,
        False,
    )


def test_whole_floats_are_whole_numbers() -> None:
    """A writer without integers is understood as long as its floats are exact."""
    assert (read(width=512.0).width, read(cfg=7).cfg) == (512, 7.0)


@pytest.mark.parametrize(("key", "expected"), [("a.PNG", "image/png"), ("b/c.webm", "video/webm"), ("noext", None)])
def test_media_type_by_extension(key: str, expected: str | None) -> None:
    """An output is what its extension says, on every machine."""
    assert expected == media_type_of(key)


@given(st.integers(0, 2**64 - 1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_seed_and_prompt_survive(seed: int, prompt: str) -> None:
    """Every seed and every text that a sidecar can hold arrive unchanged."""
    row = read(seed=seed, prompt=prompt)
    assert (seed, prompt) == (row.seed, row.prompt)
