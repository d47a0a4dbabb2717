"""A value that lives on a thread of its own: what SQLite connections want, and what keeps the loop free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)
R = TypeVar("R")


class OnThread(Generic[T]):
    """Opens a value on a new thread, and does everything with it there, one call after the other.

    `await on(lambda value: value.method(...))`. Used as a context manager; leaving closes the value.
    """

    def __init__(self, name: str, opener: Callable[[], T]) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._opener = opener
        self._value: T | None = None

    async def __aenter__(self) -> Self:
        try:
            self._value = await self._run(self._opener)
        except BaseException:
            self._executor.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        value, self._value = self._value, None
        try:
            if value is not None:
                await asyncio.shield(self._run(value.close))
        finally:
            self._executor.shutdown(wait=True)

    async def __call__(self, work: Callable[[T], R]) -> R:
        """Run `work` with the value on its thread. It runs to its end even if the caller is cancelled."""
        value = self._value
        if value is None:
            raise RuntimeError("not open")
        return await asyncio.shield(self._run(lambda: work(value)))

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
