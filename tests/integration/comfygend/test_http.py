"""The service's small http server."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from comfygen.errors import ConfigInvalid
from comfygend.board import Board
from comfygend.http import MAX_HOOK_BYTES, Hooks, serving

HOST = "127.0.0.1"
BEARER = {"Authorization": "Bearer secret"}


async def counts() -> dict[str, object]:
    return {"ledger": {"requests": 3}}


@asynccontextmanager
async def asking(board: Board, hooks: Hooks | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server on a port of its own."""
    async with (
        serving(HOST, 0, board, counts, hooks) as port,
        aiohttp.ClientSession(f"http://{HOST}:{port}") as session,
    ):
        yield session


async def test_health_is_200_while_all_is_well_and_503_while_something_is_not() -> None:
    """With what is wrong, and what to do about it."""
    board = Board()
    async with asking(board) as session:
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True, "troubles": {}})
        board.trouble("store", "It is away.", "Wait.")
        async with session.get("/healthz") as answer:
            trouble = (await answer.json())["troubles"]["store"]
            assert (answer.status, trouble["message"], trouble["hint"]) == (503, "It is away.", "Wait.")
        board.well("store")
        async with session.get("/healthz") as answer:
            assert answer.status == 200


async def test_status_is_what_every_part_says_about_itself() -> None:
    """And what the ledger counts."""
    async with asking(Board(parts={"backends": lambda: [{"url": "http://a:8188"}]})) as session:
        async with session.get("/status") as answer:
            told = await answer.json()
        assert (told["ok"], told["backends"], told["ledger"]) == (True, [{"url": "http://a:8188"}], {"requests": 3})


async def test_an_address_that_somebody_else_has_is_told() -> None:
    """The configuration is to be changed, or the other one stopped."""
    async with serving(HOST, 0, Board(), counts) as port:
        with pytest.raises(ConfigInvalid, match=f"{HOST}:{port} cannot be listened on"):
            async with serving(HOST, port, Board(), counts):
                pass


async def test_an_address_that_is_none_of_ours_is_told() -> None:
    """Nobody has this one."""
    with pytest.raises(ConfigInvalid, match="cannot be listened on"):
        async with serving("192.0.2.1", 0, Board(), counts):
            pass


async def test_without_a_token_there_is_no_hook() -> None:
    """Nobody can send notifications to a service that did not ask for them."""
    async with asking(Board()) as session, session.post("/hooks/bucket", data=b"{}", headers=BEARER) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sécret"}])
async def test_a_hook_without_the_right_token_is_refused(headers: dict[str, str]) -> None:
    """And its body is not looked at."""
    offered: list[bytes] = []
    hooks = Hooks(token="secret", offers=(lambda body: offered.append(body),))
    async with asking(Board(), hooks) as session, session.post("/hooks/bucket", data=b"x", headers=headers) as answer:
        assert (answer.status, offered) == (401, [])


async def test_a_body_that_nobody_can_read_is_answered_well_all_the_same() -> None:
    """An error would block the sender's queue for good; the answer says what is wrong."""
    hooks = Hooks(token="secret", offers=(lambda body: None, lambda body: f"{body!r} is no notification."))
    async with asking(Board(), hooks) as session:
        async with session.post("/hooks/bucket", data=b"?", headers=BEARER) as answer:
            told = await answer.json()
            assert (answer.status, told) == (200, {"ok": False, "problems": ["b'?' is no notification."]})
        async with session.post(
            "/hooks/bucket", data=io.BytesIO(b"x" * (MAX_HOOK_BYTES + 1)), headers=BEARER
        ) as answer:
            assert (answer.status, (await answer.json())["problems"]) == (200, ["The body is too large."])


async def test_every_listener_is_offered_every_body() -> None:
    """The inbox and the index both want to know."""
    offered: list[bytes] = []
    hooks = Hooks(token="secret", offers=(offered.append, offered.append))
    async with asking(Board(), hooks) as session, session.post("/hooks/bucket", data=b"x", headers=BEARER) as answer:
        assert (await answer.json(), offered) == ({"ok": True, "problems": []}, [b"x", b"x"])
