"""Input images: which may be named, how they are prepared, and how long they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.errors import StoreUnavailable
from comfygend import intake as intake_module
from comfygend.ledger import RequestState
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.intaking import door

IMG2IMG = b"workflow: sd15-img2img\nprompt: watercolor\ninput_image: car.png\nresize: 64x64\nsteps: 2\n"


async def test_an_input_image_from_beside_the_request_is_prepared_once(tmp_path: Path) -> None:
    """Cropped, kept under the name of its content, and read once for a whole batch."""
    async with door(tmp_path) as made:
        (made.inbox.folder / "car.png").write_bytes(making.picture(96, 48))
        made.drop("car.yaml", IMG2IMG + b"count: 3\n")
        (row,) = await made.decided()
        jobs = await made.jobs(row)
        images = {job.plan.input_image for job in jobs}
        assert len(jobs) == 3
        (image,) = images
        assert image is not None
        assert (image.width, image.height) == (64, 64)
        assert [path.name for path in (tmp_path / "inputs").iterdir()] == [image.name]


async def test_an_input_image_may_be_an_earlier_output(tmp_path: Path) -> None:
    """Named by its key; a batch asks the store once."""
    async with door(tmp_path) as made:
        made.store.fill({"20260104_011032_lake-abc.png": making.picture(64, 64)})
        made.drop("car.yaml", IMG2IMG.replace(b"car.png", b"20260104_011032_lake-abc.png") + b"count: 3\n")
        (row,) = await made.decided()
        assert (row.state, made.store.asked["get"]) == (RequestState.ACCEPTED, 1)


async def test_a_store_that_is_away_makes_a_request_wait_and_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is prepared when the store is back; what needs no store goes on meanwhile."""
    monkeypatch.setattr(intake_module, "RETRY_SECONDS", 0.02)
    async with door(tmp_path) as made:
        made.store.fill({"lake.png": making.picture(64, 64)})
        made.store.errors["get"] = [StoreUnavailable("Away.") for _ in range(5)]
        made.drop("car.yaml", IMG2IMG.replace(b"car.png", b"lake.png"))

        async def waits() -> bool:
            return "request car.yaml" in made.office.board.troubles

        async def accepted() -> bool:
            return {row.state for row in await made.rows()} == {RequestState.ACCEPTED}

        async with running((made.intake.run(), made.intake.retry())):
            await until(waits)
            made.drop("lake.yaml")
            await until(accepted)
        assert made.office.board.troubles == {}


async def test_mistakes_are_told_even_while_the_store_is_away(tmp_path: Path) -> None:
    """There is no use in waiting for what will be refused."""
    async with door(tmp_path) as made:
        made.store.errors["get"] = [StoreUnavailable("Away.")]
        made.drop("bad.yaml", IMG2IMG.replace(b"car.png", b"lake.png") + b"---\nworkflow: fluxdev\nprompt: a\n")
        (row,) = await made.decided()
        assert row.state is RequestState.FAILED


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("http://127.0.0.1/car.png", "addresses are not fetched"),
        ("https://robot:sesame@example.org/car.png?key=sesame", "'https://example.org/car.png' is an address"),
        ("FILE:///etc/passwd", "addresses are not fetched"),
        ("//[x", "There is no"),
        ("/etc/passwd", "outside the folders"),
        ("../queue.db", "outside the folders"),
        ("notes.txt", "cannot be read"),
    ],
)
async def test_what_may_not_be_an_input_image_is_refused(tmp_path: Path, reference: str, words: str) -> None:
    """Addresses, files elsewhere, files that are no image."""
    async with door(tmp_path) as made:
        (made.inbox.folder / "notes.txt").write_text("no image", encoding="utf-8")
        made.drop("car.yaml", IMG2IMG.replace(b"car.png", f"'{reference}'".encode()))
        (row,) = await made.decided()
        assert row.error is not None
        assert words in str(row.error["problems"])


async def test_an_image_is_not_dropped_before_its_job_is_in_the_ledger(tmp_path: Path) -> None:
    """Another request ends just then, and asks which images are still in use."""
    async with door(tmp_path) as made:
        await made.inputs.keep("old.png", b"old")
        asked_before = made.inputs.holds
        with made.inputs.holding():
            await made.inputs.keep("new.png", b"new")
            made.inputs.drop_all_but(set(), holds=made.inputs.holds)
        made.inputs.drop_all_but(set(), holds=asked_before)
        assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == ["new.png", "old.png"]
        made.inputs.drop_all_but({"new.png"}, holds=made.inputs.holds)
        assert [path.name for path in (tmp_path / "inputs").iterdir()] == ["new.png"]


async def test_a_disk_without_space_for_input_images_makes_their_requests_wait(tmp_path: Path) -> None:
    """Nothing is refused for it."""
    async with door(tmp_path) as made:
        (tmp_path / "inputs").write_text("no folder", encoding="utf-8")
        (made.inbox.folder / "car.png").write_bytes(making.picture(64, 64))
        made.drop("car.yaml", IMG2IMG)

        async def waits() -> bool:
            return "request car.yaml" in made.office.board.troubles

        async with running([made.intake.run()]):
            await until(waits)
        (tmp_path / "inputs").unlink()
        await made.intake._accept_received()
        assert [row.state for row in await made.rows()] == [RequestState.ACCEPTED]
