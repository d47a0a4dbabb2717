"""Graphs as values: links, consumers, edits that copy, and the hash of what runs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.graph import (
    Consumer,
    Graph,
    Link,
    as_link,
    canonical,
    class_of,
    consumers,
    graph_sha256,
    inputs_of,
    is_node,
    source_of,
    with_input,
)
from tests.unit.sample_graphs import node, recorded, text_to_image

VALUES = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.lists(st.integers(), max_size=2))


@pytest.mark.parametrize("value", [{"class_type": "KSampler"}, {"class_type": "X", "inputs": {}}])
def test_a_node_has_a_class(value: object) -> None:
    """A root entry is a node if it has a class, whatever else it has."""
    assert is_node(value)


@pytest.mark.parametrize("value", [{"inputs": {}}, {"class_type": 5}, "class_type", ["class_type"], None, 5])
def test_other_root_entries_are_no_nodes(value: object) -> None:
    """Metadata, comments, lists and numbers are no nodes."""
    assert not is_node(value)


def test_a_link_names_a_node_and_a_slot() -> None:
    """A pair of text and number is a link; node ids may be any text."""
    assert as_link(["57:8", 2]) == Link("57:8", 2)


@pytest.mark.parametrize("value", [["1"], ["1", 0, 0], [1, 0], ["1", "0"], ["1", True], ["1", 0.0], "1", None, {}])
def test_literals_are_no_links(value: object) -> None:
    """Whatever is not exactly such a pair is a literal."""
    assert as_link(value) is None


def test_classes_and_inputs_of_absent_nodes_are_empty() -> None:
    """Asking after a node that does not exist, or that has no inputs, is no error."""
    graph: Graph = {"1": {"class_type": "X"}, "2": {"class_type": "Y", "inputs": []}}
    assert (class_of(graph, "9"), class_of(graph, "1")) == ("", "X")
    assert (inputs_of(graph, "9"), inputs_of(graph, "1"), inputs_of(graph, "2")) == ({}, {}, {})


def test_consumers_come_in_the_order_of_the_graph() -> None:
    """Every linked input is told once, and literals are not."""
    graph = {"b": node("Y", text="x", model=["a", 0], clip=["a", 1]), "a": node("X", size=[1, 2])}
    expected = [Consumer("b", "model", Link("a", 0)), Consumer("b", "clip", Link("a", 1))]
    assert expected == list(consumers(graph))


def test_the_source_of_an_input() -> None:
    """A linked input has a source, a literal or absent one has none."""
    graph = text_to_image()
    assert Link("1", 0) == source_of(graph, "5", "model")
    assert (source_of(graph, "5", "seed"), source_of(graph, "5", "absent")) == (None, None)


def test_an_edit_copies_and_shares_what_it_does_not_touch() -> None:
    """The graph given stays as it was; nodes that are not meant are the same objects."""
    graph = text_to_image()
    before = copy.deepcopy(graph)
    changed = with_input(graph, "5", "seed", 9)
    assert before == graph
    assert changed["5"]["inputs"]["seed"] == 9
    assert all(changed[key] is graph[key] for key in graph if key != "5")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(name=st.text(max_size=5), value=VALUES)
def test_an_edit_is_what_it_says(name: str, value: Any) -> None:
    """Any value can be written to any input of a node, and is read back there."""
    assert value == inputs_of(with_input(text_to_image(), "5", name, value), "5")[name]


def test_the_canonical_form_knows_no_order_and_no_titles() -> None:
    """Two graphs that run alike have the same text and the same hash."""
    graph = recorded("flux-dev")
    turned = {key: dict(reversed(list(graph[key].items()))) for key in reversed(list(graph))}
    untitled = {key: {k: v for k, v in body.items() if k != "_meta"} for key, body in turned.items()}
    assert canonical(graph) == canonical(untitled)
    assert graph_sha256(graph) == graph_sha256(untitled)


def test_the_hash_tells_one_seed_from_another() -> None:
    """The hash depends on every input, to the last digit of a seed."""
    seeds = [2**64 - 1, 2**64 - 2, 2**53, 2**53 + 1]
    assert len({graph_sha256(with_input(text_to_image(), "5", "seed", seed)) for seed in seeds}) == 4


def test_the_hash_takes_any_text() -> None:
    """Emoji and half surrogates from a file do not break the hash."""
    assert len(graph_sha256(with_input(text_to_image(), "2", "text", "a \N{ROBOT FACE} \ud800"))) == 64


def test_a_number_that_json_does_not_know_has_no_canonical_form() -> None:
    """NaN would come back from ComfyUI as a token that strict parsers refuse."""
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(with_input(text_to_image(), "5", "cfg", float("nan")))
