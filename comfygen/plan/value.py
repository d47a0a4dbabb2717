"""Plan and InputImage as values, and as the JSON that the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from comfygen.graph import Graph
from comfygen.lora import Lora


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """The picture that a generation starts from, as it is uploaded: a PNG, already resized and cropped.

    `source` is what the request said; `name` is the file name that it is uploaded under and that the graph loads.
    """

    source: str
    name: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one job runs, and what its sidecar will tell of it.

    What was not asked for is read from the graph; None is what the graph does not have, or computes itself. `loras`
    are all LoRAs of the graph in the order of their chains, with their branch where there are several. `output_nodes`
    are the nodes that must have saved something.
    """

    workflow: str
    graph: Graph
    graph_sha256: str
    prompt: str
    negative_prompt: str
    seed: int
    steps: int | None
    cfg: float | None
    sampler: str | None
    scheduler: str | None
    denoise: float | None
    width: int | None
    height: int | None
    frames: int | None
    fps: float | None
    loras: tuple[Lora, ...]
    preset: str | None
    models: tuple[str, ...]
    vae: str | None
    input_image: InputImage | None
    output_nodes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON; `from_json` gives it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` told."""
        image = plain["input_image"]
        lists = {key: tuple(plain[key]) for key in ("models", "output_nodes", "warnings")}
        loras = tuple(Lora(**lora) for lora in plain["loras"])
        return cls(**{**plain, **lists, "loras": loras, "input_image": InputImage(**image) if image else None})
