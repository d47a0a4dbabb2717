"""Fuzz: requests that were damaged by chance, always by the same chance; and values that hypothesis thinks of."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from comfygen.request import KEYS
from tests.hostile.texts import BASE

SEEDS = (
    BASE.encode(),
    (BASE + "loras:\n  - style_a.safetensors:0.5\n  - {name: film_grain.safetensors, strength: 0.2}\n").encode(),
    (BASE + "tags: [warm, landscape]\nproject: calendar\nid: may-1\nnot_before: 2026-05-01T20:00:00Z\n").encode(),
    json.dumps({"workflow": "flux-dev", "prompt": "a robot", "width": 64, "height": 64, "steps": 1}).encode(),
)
PIECES = tuple(
    piece.encode()
    for piece in (
        "\n",
        ":",
        ": ",
        "- ",
        "  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "&a ",
        "*a",
        "!!",
        "|\n",
        ">",
        "%",
        "@",
        "#",
        "?",
        "\0",
        "\x1b[1m",
        "é",
        "\u2028",
        "---\n",
        "...\n",
        "<<",
        "~",
        "\\",
        ",",
        "null",
        "\ufeff",
    )
)
KEPT = (b"width: 64", b"height: 64", b'"width": 64', b'"height": 64')  # damage them and a giant is painted


def damaged(count: int, seed: int) -> Iterator[bytes]:
    """Requests with a few bytes flipped, removed, doubled, or with YAML's own signs in wrong places."""
    dice = random.Random(seed)
    made = 0
    while made < count:
        body = bytearray(dice.choice(SEEDS))
        for _ in range(dice.randint(1, 6)):
            _damage(body, dice)
        if sum(body.count(kept) for kept in KEPT) >= 2:
            made += 1
            yield bytes(body)


def _damage(body: bytearray, dice: random.Random) -> None:
    at = dice.randrange(max(len(body), 1))
    match dice.randrange(5):
        case 0:
            body[at : at + 1] = bytes([dice.randrange(256)])
        case 1:
            del body[at : at + dice.randint(1, 12)]
        case 2:
            body[at:at] = body[at : at + dice.randint(1, 30)] * dice.randint(1, 3)
        case 3:
            body[at:at] = dice.choice(PIECES)
        case _:
            body[at:at] = dice.choice(PIECES) * dice.randint(2, 40)


def drawn(count: int) -> list[bytes]:
    """Requests whose values hypothesis has drawn, as JSON."""
    found: list[bytes] = []
    keys = st.sampled_from(sorted(KEYS)) | st.text(max_size=10)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    )

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.dictionaries(keys, values, max_size=6))
    def draw(asked: dict[str, Any]) -> None:
        whole = {"workflow": "flux-dev", "prompt": "a dancer", "width": 64, "height": 64, "steps": 1} | asked
        found.append(json.dumps(whole).encode())

    draw()
    return found
