"""Orders: the requests that are dropped, and what has to come of each of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

PICTURE = "start.png"
LORAS = ("style_a.safetensors", "style_b.safetensors", "film_grain.safetensors", "watercolor_style.safetensors")
SCENES = ("a mountain lake at dawn", "a red car by the sea", "a dancer in the rain", "a robot in a garden", "Küste, 秋")
UNUSABLE = (
    "stepz: 3",
    "count: 1000000",
    "steps: many",
    "loras: [nobody_has_this.safetensors]",
    "fps: 8",
    "prompt: said twice",
    "preset: nobodys",
    "input_image: nowhere.png",
    "seed: -7",
    "width: [64",
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request file; `seeds` has one per job, and none when the request cannot be used."""

    name: str
    text: str
    seeds: tuple[int, ...]
    expected: dict[str, object] = field(default_factory=dict)


def make_order(n: int, seed: int) -> Order:
    """The nth order of a seed: always the same."""
    dice = random.Random(f"{seed}/{n}")
    make: Callable[[int, random.Random], Order] = dice.choices(
        (_plain, _batch, _styled, _repainted, _unusable), (58, 13, 10, 8, 11)
    )[0]
    return make(n, dice)


def _order(n: int, dice: random.Random, more: str = "", *, jobs: int = 1, **expected: object) -> Order:
    prompt, steps, seed = f"{dice.choice(SCENES)}, number {n}", dice.randint(1, 2), 10 * n
    size = (dice.choice((64, 96)), dice.choice((64, 96)))
    asked = {
        "workflow": "flux-dev",
        "prompt": prompt,
        "seed": seed,
        "steps": steps,
        "width": size[0],
        "height": size[1],
    }
    asked |= {"workflow": "sd15-img2img"} if "input_image" in more else {}
    if "input_image" in more:
        more += f"resize: {size[0]}x{size[1]}\n"
        del asked["width"], asked["height"]
    text = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in asked.items())
    told = {"prompt": prompt, "steps": steps, "width": size[0], "height": size[1], "loras": [], "preset": None}
    return Order(
        name=_name(n, dice),
        text=text + more,
        seeds=tuple(range(seed, seed + jobs)),
        expected=told | {"workflow": f"{asked['workflow']}.json"} | expected,
    )


def _name(n: int, dice: random.Random) -> str:
    return dice.choice(("lake-{}.yaml", "lake-{}.yaml", "see ü {}.yml", "car+{}%20.yaml")).format(n)


def _plain(n: int, dice: random.Random) -> Order:
    return _order(n, dice, f"priority: {dice.randint(0, 3)}\n" if dice.random() < 0.2 else "")


def _batch(n: int, dice: random.Random) -> Order:
    jobs = dice.randint(2, 3)
    return _order(n, dice, f"count: {jobs}\n", jobs=jobs)


def _styled(n: int, dice: random.Random) -> Order:
    loras = [(name, round(dice.uniform(0.1, 1.0), 2)) for name in dice.sample(LORAS, dice.randint(1, 3))]
    written = ", ".join(f"{name}:{strength}" for name, strength in loras)
    return _order(
        n, dice, f"loras: [{written}]\n", loras=[{"name": name, "strength": strength} for name, strength in loras]
    )


def _repainted(n: int, dice: random.Random) -> Order:
    return _order(n, dice, f"input_image: {PICTURE}\ndenoise: 0.6\n", denoise=0.6)


def _unusable(n: int, dice: random.Random) -> Order:
    order = _order(n, dice, dice.choice(UNUSABLE) + "\n")
    return Order(name=order.name, text=order.text, seeds=())
