"""POST /prompt against the 50 recorded bad graphs and bodies: the same status and the same error bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfygen.graph import Graph
from tests.integration.simulating import Client, recorded_models, sd15, simulated, still
from tests.integration.talks import differences
from tests.replay import graph, recording

NO_VHS = "custom node not installed"  # the simulator has that node
VARYING = {"prompt_id", "number", "executed", "current_outputs"}


def changed(node: str, **inputs: Any) -> Graph:
    """The SD1.5 graph with other inputs for one node."""
    bad = sd15()
    bad[node]["inputs"] |= inputs
    return bad


def without(node: str, name: str) -> Graph:
    bad = sd15()
    del bad[node]["inputs"][name]
    return bad


def with_lora(name: str, strength: float = 1.0) -> Graph:
    bad = sd15(model=["100", 0])
    strengths = {"strength_model": strength, "strength_clip": strength}
    inputs = {"model": ["1", 0], "clip": ["1", 1], "lora_name": name, **strengths}
    return bad | {"100": {"class_type": "LoraLoader", "inputs": inputs}}


def with_class(name: str) -> Graph:
    bad = sd15()
    bad["4"]["class_type"] = name
    return bad


def with_root(key: str, value: Any) -> dict[str, Any]:
    return sd15() | {key: value}


def without_inputs() -> Graph:
    bad = sd15()
    del bad["4"]["inputs"]
    return bad


def without_saver() -> Graph:
    bad = sd15()
    del bad["7"]
    return bad


def from_image(name: str) -> Graph:
    bad = sd15(latent_image=["8", 0])
    bad["4"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    return bad | {"8": {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["1", 2]}}}


def with_codec(codec: str) -> Graph:
    bad = graph("wan22-t2v")
    bad["35"]["inputs"]["codec"] = codec
    return bad


def with_extras() -> Graph:
    odd = changed("5", no_such_input=1)
    odd["5"]["_meta"] = {"title": "anything"}
    return odd


def beside(node: dict[str, Any]) -> Graph:
    return still(70) | {"3": node}


UI_FORMAT = {"nodes": [], "links": [], "version": 0.4, "last_node_id": 9}
BROKEN_NODE = {"class_type": "KSampler", "inputs": {}}
NO_PREFIX = {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}
CASES: dict[str, Callable[[], Any]] = {
    "unknown class_type": lambda: with_class("EmptyLatentVideo"),
    "ckpt not in list": lambda: changed("1", ckpt_name="missing.safetensors"),
    "lora not in list": lambda: with_lora("missing_lora.safetensors"),
    "lora in a subfolder, right name": lambda: with_lora("sub dir/style_c.safetensors"),
    "lora in a subfolder, backslash": lambda: with_lora("sub dir\\style_c.safetensors"),
    "sampler not in list (more than 20 options)": lambda: sd15(sampler_name="eulerr"),
    "scheduler not in list": lambda: sd15(scheduler="karass"),
    "seed -1": lambda: sd15(seed=-1),
    "seed 2**64": lambda: sd15(seed=2**64),
    "seed 2**64-1": lambda: sd15(seed=2**64 - 1),
    "steps 0": lambda: sd15(steps=0),
    "steps '3' (string), cfg '7', seed 5.9": lambda: sd15(steps="3", cfg="7", seed=5.9),
    "steps 'abc'": lambda: sd15(steps="abc"),
    "steps null": lambda: sd15(steps=None),
    "cfg NaN (JSON NaN literal)": lambda: sd15(cfg=float("nan")),
    "width 70 (not a multiple of 8; step is not checked)": lambda: changed("4", width=70),
    "width 100000": lambda: changed("4", width=100000),
    "strength_model 1000": lambda: with_lora("style_a.safetensors", 1000.0),
    "missing required input": lambda: without("5", "cfg"),
    "no inputs key": without_inputs,
    "link to absent node": lambda: changed("6", samples=["99", 0]),
    "link to absent slot": lambda: changed("6", samples=["5", 7]),
    "link of the wrong type": lambda: changed("6", samples=["1", 0]),
    "link with integer node id": lambda: changed("6", samples=[5, 0]),
    "link of length 3": lambda: changed("6", samples=["5", 0, 1]),
    "value where a link is needed": lambda: changed("6", samples="x"),
    "cycle": lambda: sd15(latent_image=["5", 0]),
    "no output node": without_saver,
    "empty graph": dict,
    "root key _workflow_metadata left in (an object without class_type)": lambda: with_root("_workflow_metadata", {}),
    "root key holding a string": lambda: with_root("note", "text"),
    "root key holding a string that contains the word class_type": lambda: with_root("note", "class_type"),
    "root key holding a list": lambda: with_root("note", ["x"]),
    "root key holding null": lambda: with_root("note", None),
    "unknown extra inputs and _meta are ignored": with_extras,
    "UI-format workflow posted as prompt": lambda: UI_FORMAT,
    "API graph wrapped once more: {'prompt': {'prompt': graph}}": lambda: {"prompt": sd15()},
    "LoadImage of an absent file": lambda: from_image("absent.png"),
    "unconnected broken node beside a good output: is it validated?": lambda: beside(BROKEN_NODE),
    "two outputs, one bad (filename_prefix missing): 200 and node_errors together": lambda: beside(NO_PREFIX),
    "V3 COMBO not in list (SaveVideo codec)": lambda: with_codec("h265"),
    "COMBO given as a list": lambda: sd15(sampler_name=["euler"]),
    "__value__ wrapper": lambda: sd15(steps={"__value__": 2}),
}
BODIES: tuple[tuple[Any, int], ...] = (
    ({}, 400),
    ({"client_id": "client-a"}, 400),
    ([], 400),
    ("x", 400),
    (7, 500),
    ({"prompt": None}, 500),
    ({"prompt": []}, 500),
    ({"prompt": [1]}, 500),
    ({"prompt": "x"}, 500),
    ({"prompt": still(), "extra_data": "x"}, 500),
    ({"prompt": still(), "number": "x"}, 500),
)


def recorded_cases() -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Note, question and the messages that ended the run, of every recorded case."""
    events = recording("v0.28.1/04-validation-errors")["events"]
    note = ""
    for place, event in enumerate(events):
        if event["kind"] == "note":
            note = event["text"]
        elif event.get("path") == "/prompt":
            following = [e["msg"] for e in events[place + 1 : place + 2] if e["kind"] == "ws"]
            yield note, event, following


def test_every_recorded_case_is_asked() -> None:
    """No recorded bad graph is left out, but for the one about a node that the simulator has."""
    notes = {note for note, _, _ in recorded_cases()}
    assert notes - CASES.keys() == {NO_VHS, "bad bodies"}
    assert CASES.keys() <= notes


@pytest.mark.parametrize("note", CASES)
async def test_bad_graph_is_answered_as_recorded(note: str) -> None:
    """Status, error types, messages, details and the echoed configuration of inputs are those of a real server."""
    _, recorded, following = next(case for case in recorded_cases() if case[0] == note)
    async with simulated(models=recorded_models()) as client:
        status, said = await client.post("/prompt", {"prompt": CASES[note](), "client_id": "client-a"})
        assert status == recorded["status"]
        assert list(differences(varying(recorded.get("response_json")), varying(said))) == []
        if status == 200:
            await ends_as_recorded(client, said["prompt_id"], following)


def varying(said: Any) -> Any:
    """An answer without what differs each time."""
    return {key: value for key, value in said.items() if key not in VARYING} if isinstance(said, dict) else None


async def ends_as_recorded(client: Client, prompt_id: str, following: list[dict[str, Any]]) -> None:
    kind, data = (await client.entry(prompt_id))["status"]["messages"][-1]
    for message in following:
        assert kind == message["type"]
        expected = varying(message["data"]) | {"traceback": []}
        assert list(differences(expected, varying(data) | {"traceback": []})) == []


@pytest.mark.parametrize(("body", "status"), BODIES, ids=str)
async def test_bad_body_is_answered_as_recorded(body: Any, status: int) -> None:
    """No prompt is a 400 with an error, whatever breaks the server's own code is a bare 500."""
    async with simulated() as client:
        answered, said = await client.post("/prompt", body)
    assert answered == status
    if status == 500:
        assert said == "500 Internal Server Error\n\nServer got itself in trouble"
    else:
        assert said["error"]["type"] in {"no_prompt", "prompt_no_outputs"}


async def test_body_that_is_no_json_is_a_bare_500() -> None:
    """Text that is no JSON, or no text at all, breaks the handler as it does in ComfyUI."""
    async with simulated() as client:
        assert [(await client.ask("POST", "/prompt", data=data))[0] for data in (b"not json", b"")] == [500, 500]


async def test_content_type_is_not_looked_at() -> None:
    """A graph posted as plain text is taken."""
    async with simulated() as client:
        body = b'{"prompt": {"1": {"class_type": "NoSuchNode"}}}'
        status, said = await client.ask("POST", "/prompt", data=body, headers={"Content-Type": "text/plain"})
    assert (status, said["error"]["type"]) == (400, "missing_node_type")


async def test_body_above_the_limit_is_refused() -> None:
    """What is larger than the limit is a 413; the limit is told, and is 100 MiB unless it is set."""
    async with simulated(max_body=2000) as client:
        status, _ = await client.post("/prompt", {"prompt": still(), "more": "x" * 2000})
        told = await client.get("/features")
    async with simulated() as client:
        usual = await client.get("/features")
    assert (status, told["max_upload_size"], usual["max_upload_size"]) == (413, 2000, 104857600)


async def test_refused_prompts_count_too() -> None:
    """The number of a prompt counts every POST before it, refused ones included."""
    async with simulated() as client:
        refused: list[Any] = [{}, {"prompt": {}}, {"prompt": still(), "prompt_id": "my-job"}]
        for body in refused:
            await client.post("/prompt", body)
        _, said = await client.post("/prompt", {"prompt": still()})
    assert said["number"] == 3


async def test_converted_values_run_and_the_posted_graph_is_kept() -> None:
    """Numbers given as text run as numbers, as /history shows; what was posted stays as it was."""
    async with simulated() as client:
        entry = await client.run(sd15(steps="3", cfg="7"))
        posted = client.simulator.posted[0].graph
    assert (entry["prompt"][2]["5"]["inputs"]["steps"], entry["prompt"][2]["5"]["inputs"]["cfg"]) == (3, 7.0)
    assert (posted["5"]["inputs"]["steps"], posted["5"]["inputs"]["cfg"]) == ("3", "7")
