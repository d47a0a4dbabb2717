"""Reading workflow files: what is stripped, and what each kind of broken file is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.errors import Problem, WorkflowInvalid
from comfygen.graph import Graph
from comfygen.workflows import parse_workflow, strip
from tests.unit.sample_graphs import node, node_classes, recorded, text_to_image


def problems(text: bytes | object) -> tuple[Problem, ...]:
    """What is wrong with a file, given as bytes or as the value that it holds."""
    with pytest.raises(WorkflowInvalid) as caught:
        parse_workflow(text if isinstance(text, bytes) else json.dumps(text, indent=1).encode(), name="mine.json")
    assert {"mine.json"} == {problem.file for problem in caught.value.problems}
    return caught.value.problems


def broken(**nodes: Any) -> tuple[Problem, ...]:
    """What is wrong with the usual graph when these nodes are added or replaced; `n5` stands for node 5."""
    return problems(text_to_image() | {key.removeprefix("n"): body for key, body in nodes.items()})


def test_a_workflow_is_its_nodes_and_its_metadata() -> None:
    """The metadata is kept beside the graph, and everything else at the root is dropped."""
    document: dict[str, Any] = recorded("flux-dev") | {
        "_workflow_metadata": {"workflow_name": "Mine"},
        "comment": "not a node",
        "version": 0.4,
        "extra": {"ds": {}},
        "links_of_interest": ["class_type"],
        "nothing": None,
    }
    workflow = parse_workflow(json.dumps(document).encode(), name="mine.json")
    assert recorded("flux-dev") == workflow.graph
    assert (workflow.name, workflow.stem) == ("mine.json", "mine")
    assert workflow.metadata == {"workflow_name": "Mine"}


def test_node_ids_may_be_any_text() -> None:
    """Nodes of subgraphs and other ids that are no numbers are kept (D9)."""
    graph = {f"57:{key}": body for key, body in text_to_image().items()}
    for body in graph.values():
        links = {name: [f"57:{v[0]}", v[1]] for name, v in body["inputs"].items() if isinstance(v, list)}
        body["inputs"] |= links
    graph["a note"] = node("Note", text="x")
    assert graph == parse_workflow(json.dumps(graph).encode(), name="x.json").graph


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    root=st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.just({"class_type": "X"}),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=5,
        ),
    )
)
def test_only_nodes_are_kept(root: dict[str, Any]) -> None:
    """Whatever stands at the root of a file: what is kept are nodes, and stripping again changes nothing."""
    kept = strip(root)
    assert kept == strip(kept)
    assert all(body["class_type"] == root[key]["class_type"] for key, body in kept.items())


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Files from Windows editors are read as well."""
    text = json.dumps(text_to_image())
    for encoded in (text.encode("utf-8-sig"), text.encode("utf-16")):
        assert text_to_image() == parse_workflow(encoded, name="x.json").graph


def test_the_editor_format_is_recognised() -> None:
    """A file of the editor's own format is told how to export the other."""
    editor = {"last_node_id": 9, "nodes": [{"id": 1, "type": "KSampler"}], "links": [[1, 4, 0, 3, 0, "MODEL"]]}
    [problem] = problems(editor)
    assert "editor's own format" in problem.message
    assert "Workflow > Export (API)" in str(problem.hint)


def test_a_wrapped_graph_is_told_where_it_stands() -> None:
    """A request body instead of a graph is told what to keep of it."""
    [problem] = problems({"client_id": "x", "prompt": text_to_image()})
    assert problem.hint == 'Keep only what stands under "prompt".'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b'{\n "1": {\n  "class_type": "X",,\n', 3, "no JSON"),
        (b"", 1, "no JSON"),
        (b'{"1": \xff}', None, "no JSON"),
        (b'{"1": {"class_type": "X", "inputs": {"cfg": NaN}}}', None, "NaN"),
        (b"[" * 100_000, None, "nested too deeply"),
        (b'{"1": ' + b"9" * 5000 + b"}", None, "no JSON"),
        (b"[1, 2]", None, "an object of nodes"),
        (b"{}", None, "no node stands at the root"),
        (b'"class_type"', None, "an object of nodes"),
    ],
)
def test_what_is_no_workflow_at_all(text: bytes, line: int | None, words: str) -> None:
    """Broken JSON names its line, and no file makes the parser itself fail."""
    [problem] = problems(text)
    assert line == problem.line
    assert words in problem.message


def test_a_link_to_an_absent_node() -> None:
    """The complaint names the place, its line, and the node that was probably meant."""
    [problem] = broken(n40=node("VAEDecode", samples=["44", 0], vae=["1", 2]))
    expected = ("40.inputs.samples", 'the link leads to node "44", which does not exist.')
    assert expected == (problem.field, problem.message)
    lines = json.dumps(text_to_image() | {"40": {}}, indent=1).splitlines()
    assert ' "40": {' in lines[(problem.line or 0) - 1]


@pytest.mark.parametrize("slot", [3, -1])
def test_a_link_to_an_absent_slot(slot: int) -> None:
    """A checkpoint has three outputs, and no others."""
    [problem] = broken(n6=node("VAEDecode", samples=["5", 0], vae=["1", slot]))
    assert f'output {slot} of node "1" (CheckpointLoaderSimple)' in problem.message
    assert problem.allowed == "0 to 2"


def test_slots_of_unknown_classes_are_not_judged() -> None:
    """Nothing is known of a custom node's outputs, unless the server has told them."""
    graph = text_to_image() | {"9": node("Custom"), "6": node("VAEDecode", samples=["9", 7], vae=["1", 2])}
    text = json.dumps(graph).encode()
    assert graph == parse_workflow(text, name="x.json").graph
    with pytest.raises(WorkflowInvalid, match="output 7"):
        parse_workflow(text, name="x.json", classes={**node_classes(), "Custom": {"output": ["LATENT"]}})


def test_a_link_with_a_number_for_a_node() -> None:
    """ComfyUI would fail over an integer node id with a bare KeyError."""
    [problem] = broken(n6=node("VAEDecode", samples=[5, 0], vae=["1", 2]))
    assert problem.message == "the link names node 5 by a number; node ids are text."


def test_a_link_with_a_text_for_a_slot() -> None:
    """An output is named by its number."""
    [problem] = broken(n6=node("VAEDecode", samples=["5", "LATENT"], vae=["1", 2]))
    assert "'LATENT', which is no number" in problem.message


def test_lists_that_are_no_links_are_left_alone() -> None:
    """A node may take a list of values."""
    graph = text_to_image() | {"9": node("Curve", points=[0.5, 1.0], names=["a", "b"], box=[1, 2, 3, 4])}
    assert graph == parse_workflow(json.dumps(graph).encode(), name="x.json").graph


def test_a_cycle() -> None:
    """Nodes that feed each other are named in their order."""
    graph: Graph = text_to_image()
    graph["5"]["inputs"]["latent_image"] = ["8", 0]
    [problem] = problems(graph | {"8": node("LatentUpscaleBy", samples=["5", 0], scale_by=2)})
    assert "feed each other in a circle" in problem.message
    assert {"5", "8"} <= set(problem.message.split())


def test_a_node_that_feeds_itself() -> None:
    """A circle of one is a circle."""
    [problem] = broken(n8=node("Custom", x=["8", 0]))
    assert problem.message == "the nodes 8 -> 8 feed each other in a circle."


def test_a_node_that_stands_twice() -> None:
    """JSON would keep the second and forget the first in silence; the complaint names the second's line."""
    text = json.dumps(text_to_image(), indent=1)
    twice = text[:-2] + ',\n "2": {"class_type": "CLIPTextEncode", "inputs": {}}\n}'
    [problem] = problems(twice.encode())
    assert (problem.field, problem.message) == ("2", 'the node "2" stands here twice.')
    assert len(twice.splitlines()) - 1 == problem.line


def test_an_input_that_stands_twice() -> None:
    """The same holds within a node."""
    text = json.dumps(text_to_image()).replace('"text": "a lake"', '"text": "a lake", "text": "a car"')
    [problem] = problems(text.encode())
    assert problem.message == '"text" stands here twice.'


def test_a_graph_that_saves_nothing() -> None:
    """Without a saver a run leaves nothing behind, and a preview keeps nothing."""
    graph = text_to_image()
    del graph["7"]
    [nothing] = problems(graph)
    [preview] = problems(graph | {"7": node("PreviewImage", images=["6", 0])})
    assert nothing.message == "the graph has no node that saves."
    assert preview.message == "the graph only shows previews and saves nothing."


def test_broken_nodes() -> None:
    """A node without a class, inputs that are no object, and metadata that is none are told together."""
    found = broken(n8={"inputs": {}}, n9={"class_type": "X", "inputs": [1]}, _workflow_metadata="mine")
    assert sorted((problem.message for problem in found), key=lambda text: "metadata" not in text) == [
        "the metadata must be an object.",
        "this node has inputs, but no class_type.",
        "the inputs of this node must be an object.",
    ]


def test_every_problem_is_told_at_once() -> None:
    """Mistakes of all kinds come together, each with its place."""
    found = broken(
        n6=node("VAEDecode", samples=["55", 0], vae=["1", 9]),
        n7=node("PreviewImage", images=[6, 0]),
        n8={"inputs": {}},
    )
    fields = {"6.inputs.samples", "6.inputs.vae", "7.inputs.images", "8", None}
    assert fields == {problem.field for problem in found}
