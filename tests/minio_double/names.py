"""Names: the keys of a bucket in the order of a listing, without those that another object hides."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator


class Names:
    """Kept up to date key by key, so that a listing after a write does not sort everything again."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._known = set(names)
        self.shown: list[str] = []
        self._sort()

    def _sort(self) -> None:
        self.shown = sorted(name for name in self._known if not self._hidden(name))

    def _hidden(self, name: str) -> bool:
        return not self._known.isdisjoint(_parents(name))

    def add(self, name: str) -> None:
        """An object was written."""
        if name in self._known:
            return
        self._known.add(name)
        at = bisect_left(self.shown, f"{name}/")
        if at < len(self.shown) and self.shown[at].startswith(f"{name}/"):
            self._sort()
        elif not self._hidden(name):
            insort(self.shown, name)

    def remove(self, name: str) -> None:
        """An object is gone: what it hid comes to light."""
        if name not in self._known:
            return
        self._known.remove(name)
        if any(other.startswith(f"{name}/") for other in self._known):
            self._sort()
        elif not self._hidden(name):
            self.shown.pop(bisect_left(self.shown, name))


def _parents(name: str) -> Iterator[str]:
    at = name.find("/")
    while 0 < at < len(name) - 1:  # a folder's own object, `a/`, does not lie beneath `a`
        yield name[:at]
        at = name.find("/", at + 1)
