"""ComfyUI's refusals for people, on what real servers answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from comfygen.comfyui_client import ObjectInfo
from comfygen.comfyui_client.refusal import check_postable, refusal
from comfygen.errors import PromptRefused
from tests.replay import graph, recording

PROMPT = "11111111-2222-4333-8444-555555555555"

EXPECTED = {
    "unknown class_type": "node 4: no node class 'EmptyLatentVideo'",
    "custom node not installed": "node 7: no node class 'VHS_VideoCombine'",
    "ckpt not in list": "node 1 (CheckpointLoaderSimple) ckpt_name: Checkpoint 'missing.safetensors' is not installed",
    "lora not in list": "node 100 (LoraLoader) lora_name: LoRA 'missing_lora.safetensors' is not installed",
    "lora in a subfolder, backslash": "Did you mean 'sub dir/style_c.safetensors'?",
    "sampler not in list (more than 20 options)": "node 5 (KSampler) sampler_name: 'eulerr' is not offered",
    "scheduler not in list": "'karass' is not offered. Did you mean 'karras'?",
    "seed -1": "node 5 (KSampler) seed: Value -1 smaller than min of 0",
    "seed 2**64": "seed: Value 18446744073709551616 bigger than max of 18446744073709551615",
    "steps 0": "node 5 (KSampler) steps: Value 0 smaller than min of 1",
    "steps 'abc'": "node 5 (KSampler) steps: 'abc' is no valid INT",
    "steps null": "node 5 (KSampler) steps: None is no valid INT",
    "width 100000": "node 4 (EmptyLatentImage) width: Value 100000 bigger than max of 16384",
    "strength_model 1000": "node 100 (LoraLoader) strength_model: Value 1000.0 bigger than max of 100.0",
    "missing required input": "node 5 (KSampler) cfg: this input is required and missing",
    "no inputs key": "node 4 (EmptyLatentImage): cannot be validated: KeyError 'inputs'",
    "link to absent node": "node 6 (VAEDecode): cannot be validated: KeyError '99'",
    "link to absent slot": "node 6 (VAEDecode): cannot be validated: IndexError tuple index out of range. One of",
    "link of the wrong type": "node 6 (VAEDecode) samples: gets MODEL from node 1 but takes LATENT",
    "link with integer node id": "node 6 (VAEDecode): cannot be validated: KeyError 5",
    "link of length 3": "node 6 (VAEDecode) samples: ['5', 0, 1] is no link",
    "cycle": "cycle",
    "no output node": "Prompt has no outputs",
    "empty graph": "Prompt has no outputs",
    "root key _workflow_metadata left in (an object without class_type)": "'_workflow_metadata' is no node",
    "root key holding a string": "'_comment' is no node",
    "root key holding a list": "'_tags' is no node",
    "API graph wrapped once more: {'prompt': {'prompt': graph}}": "'prompt' is no node",
    "LoadImage of an absent file": "node 4 (LoadImage) image: Custom validation failed for node: image - Invalid image",
    "two outputs, one bad (filename_prefix missing): 200 and node_errors together": "node 3 (SaveImage)",
    "V3 COMBO not in list (SaveVideo codec)": "node 35 (SaveVideo) codec: 'h265' is not offered. Did you mean 'h264'?",
    "COMBO given as a list": "node 5 (KSampler) sampler_name: ['euler'] is no link",
}


def _refusals(version: str) -> Iterator[tuple[str, Any]]:
    note = ""
    for event in recording(f"{version}/04-validation-errors")["events"]:
        note = event["text"] if event["kind"] == "note" else note
        body = event.get("response_json")
        if event.get("path") == "/prompt" and body and (body.get("error") or body.get("node_errors")):
            yield note, body


@pytest.mark.parametrize("version", ["v0.28.1", "v0.9.2", "v0.3.64"])
def test_every_recorded_refusal_is_explained(version: str) -> None:
    """Each bad graph's answer names the node, its class, the input, what was given and what would do."""
    told = [(note, str(refusal(body, graph("flux-dev")))) for note, body in _refusals(version) if note in EXPECTED]
    assert [(note, text) for note, text in told if EXPECTED[note] not in text] == []
    assert len(told) >= 28


def test_the_servers_own_words_stay_at_hand() -> None:
    """`node_errors` travel with the error as they came."""
    body = next(body for note, body in _refusals("v0.28.1") if note == "seed -1")
    assert refusal(body, {}).node_errors == body["node_errors"]


def test_choices_that_the_answer_leaves_out_come_from_the_node_classes() -> None:
    """Lists of more than twenty are not echoed, but the client may know them."""
    body = next(body for note, body in _refusals("v0.28.1") if note.startswith("sampler not in list"))
    info = ObjectInfo(classes=recording("v0.28.1/01-object-info")["classes"])
    assert "Did you mean 'euler'? Allowed: euler," in str(refusal(body, graph("flux-dev"), info))


def test_a_link_into_nothing_is_found_in_the_graph() -> None:
    """The server only says KeyError; the graph says which input it was."""
    bad = graph("flux-dev")
    bad["6"]["inputs"]["samples"] = ["99", 0]
    body = next(body for note, body in _refusals("v0.28.1") if note == "link to absent node")
    assert "Its input samples links to a node that does not exist." in str(refusal(body, bad))


def test_several_mistakes_stand_on_lines_of_their_own() -> None:
    """All errors of all nodes are told at once."""
    body = next(body for note, body in _refusals("v0.28.1") if note == "strength_model 1000")
    assert len(str(refusal(body, {})).splitlines()) == 3


@pytest.mark.parametrize(
    "body", [{}, {"error": "x"}, {"node_errors": {"5": None}}, {"node_errors": {"5": {"errors": [3]}}}]
)
def test_a_malformed_refusal_is_still_one(body: dict[str, Any]) -> None:
    """Whatever the body holds, a refusal comes of it."""
    assert str(refusal(body, {})).startswith("ComfyUI refused the prompt:")


@pytest.mark.parametrize(
    "prompt_id", ["", "abc", PROMPT.upper().replace("1", "A"), PROMPT.replace("-", ""), f"{PROMPT}\n"]
)
def test_only_canonical_ids_are_posted(prompt_id: str) -> None:
    """Newer servers refuse all others."""
    with pytest.raises(PromptRefused, match="no UUID"):
        check_postable(graph("flux-dev"), prompt_id)


@pytest.mark.parametrize("stray", [{}, "text", [], None, {"name": "x"}, {"class_type": None}])
def test_only_nodes_are_posted(stray: Any) -> None:
    """Other root entries end in a bare 500 on one version or another."""
    with pytest.raises(PromptRefused, match="_workflow_metadata"):
        check_postable({**graph("flux-dev"), "_workflow_metadata": stray}, PROMPT)
