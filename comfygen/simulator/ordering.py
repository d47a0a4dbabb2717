"""Ordering: which node of a graph runs next; ComfyUI's own choice among those that are ready."""

from __future__ import annotations

from collections.abc import Callable, Container

from comfygen.graph import Graph, as_link, inputs_of


class Order:
    """The nodes that the output nodes need and that are not cached, handed out so that sources come first."""

    def __init__(self, graph: Graph, outputs: list[str], cached: Container[str]) -> None:
        self._outputs = frozenset(outputs)
        self._waiting: dict[str, set[str]] = {}  # in the order in which ComfyUI finds them
        self._consumers: dict[str, set[str]] = {}
        for output in outputs:
            self._add(graph, output, cached)

    def _add(self, graph: Graph, output: str, cached: Container[str]) -> None:
        stack = [output]
        while stack:
            node = stack.pop()
            if node in self._waiting:
                continue
            found = sources(graph, node) if node not in cached else []
            needed = [source for source in found if source not in cached]
            self._waiting[node] = set(needed)
            for source in needed:
                self._consumers.setdefault(source, set()).add(node)
            stack += needed

    def next(self) -> str | None:
        """The next node to run; None when all have run. The former one counts as done."""
        ready = [node for node, needed in self._waiting.items() if not needed]
        if not ready:
            return None
        node = next((node for nearness in self._nearness() for node in ready if nearness(node)), ready[0])
        del self._waiting[node]
        for consumer in self._consumers.get(node, ()):
            self._waiting[consumer].discard(node)
        return node

    def _nearness(self) -> tuple[Callable[[str], bool], ...]:
        """Outputs first, then what feeds an output, then what feeds that: a person sees something sooner."""

        def feeds(node: str) -> bool:
            return bool(self._consumers.get(node, set()) & self._outputs)

        def feeds_feeder(node: str) -> bool:
            return any(feeds(consumer) for consumer in self._consumers.get(node, ()))

        return self._outputs.__contains__, feeds, feeds_feeder


def sources(graph: Graph, node: str) -> list[str]:
    """The nodes that a node's inputs are linked to, in the order of the inputs."""
    links = (as_link(value) for value in inputs_of(graph, node).values())
    return [link.node for link in links if link is not None]
