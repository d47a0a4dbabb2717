"""The pipeline: a request file becomes plans, or one error with every mistake."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from comfygen.errors import ComfyGenError, NotFound, RequestInvalid, StoreUnavailable
from comfygen.pipeline import MAX_RANDOM_SEED, Kitchen, Prepared, prepare, seeds
from comfygen.request import parse_requests
from tests import making

LAKE = b"workflow: flux-dev\nprompt: a mountain lake at dawn\n"
CAR = b"workflow: sd15-img2img\nprompt: watercolor\ninput_image: car.png\n"


@dataclass
class Shelf:
    """Input images in memory."""

    images: dict[str, bytes] = field(default_factory=lambda: {"car.png": making.picture(64, 32)})
    away: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)

    async def read(self, reference: str) -> bytes:
        self.asked.append(reference)
        if reference in self.away:
            raise StoreUnavailable("The store is away.")
        if reference not in self.images:
            raise NotFound(f"There is no {reference!r}.", hint="Look again.")
        return self.images[reference]

    async def keep(self, name: str, content: bytes) -> None:
        self.kept[name] = content

    @contextmanager
    def holding(self) -> Iterator[None]:
        yield


async def prepared(text: bytes, shelf: Shelf | None = None) -> tuple[Prepared, ...]:
    kitchen = Kitchen(library=making.LIBRARY, inputs=shelf or Shelf())
    return await prepare(text, file="a.yaml", kitchen=kitchen, draw=itertools.count(100))


async def problems(text: bytes, shelf: Shelf | None = None) -> list[dict[str, object]]:
    with pytest.raises(RequestInvalid) as caught:
        await prepared(text, shelf)
    return [problem.to_json() for problem in caught.value.problems]


async def test_a_request_becomes_a_plan_with_everything_resolved() -> None:
    """What was not asked for comes from preset and workflow."""
    (made,) = await prepared(LAKE + b"preset: draft\nseed: 5\n")
    assert (made.plan.seed, made.plan.steps, made.plan.cfg, made.plan.width) == (5, 10, 5.0, 512)
    assert (made.batch_index, made.batch_of) == (0, 1)


async def test_seeds_that_were_left_to_chance_are_drawn_job_by_job() -> None:
    """An asked one is the first of its batch, and counts on."""
    made = await prepared(LAKE + b"count: 2\n---\n" + LAKE + b"count: 2\nseed: 7\n---\n" + LAKE)
    assert [each.plan.seed for each in made] == [100, 101, 7, 8, 104]
    assert [each.request.seed for each in made] == [None, None, 7, 8, None]


def test_chance_is_repeatable_and_different_for_every_request() -> None:
    """So that a preparation may be repeated after a crash, or at another service."""
    first, again, other = (list(itertools.islice(seeds(text), 50)) for text in ("r1", "r1", "r2"))
    assert first == again
    assert set(first).isdisjoint(other)
    assert len(set(first)) == 50
    assert all(0 <= seed <= MAX_RANDOM_SEED for seed in first)


async def test_each_document_has_a_batch_of_its_own() -> None:
    """The place in it begins anew."""
    made = await prepared(LAKE + b"count: 2\n---\n" + LAKE + b"matrix: {cfg: [3, 4], steps: [1, 2]}\n")
    assert [(each.batch_index, each.batch_of) for each in made] == [(0, 2), (1, 2), (0, 4), (1, 4), (2, 4), (3, 4)]


async def test_all_mistakes_of_all_documents_are_told_at_once() -> None:
    """With file and, where it is known, line and field."""
    found = await problems(LAKE + b"preset: drafd\n---\nworkflow: fluxdev\nprompt: a\n---\n" + LAKE + b"fps: 8\n")
    assert {problem["file"] for problem in found} == {"a.yaml"}
    told = str(found)
    assert [word for word in ("drafd", "draft", "fluxdev", "flux-dev", "fps") if word not in told] == []


async def test_the_same_mistake_of_a_whole_batch_is_told_once() -> None:
    """A hundred jobs, one unknown workflow."""
    assert len(await problems(b"workflow: fluxdev\nprompt: a\ncount: 100\n")) == 1


async def test_a_workflow_that_does_not_exist_is_a_mistake_of_its_field() -> None:
    """With the one that was probably meant."""
    (found,) = await problems(b"workflow: fluxdev\nprompt: a\n")
    assert (found["field"], found["hint"]) == ("workflow", "Did you mean 'flux-dev'?")


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (b"prompt: a\nworkflow: flux-dv\n", 2, "workflow"),
        (LAKE + b"---\n" + LAKE + b"# fast\npreset: drft\n", 7, "preset"),
        (LAKE + b"lora_preset: nobodys\n", 3, "lora_preset"),
        (CAR.replace(b"car.png", b"cart.png"), 3, "input_image"),
        (LAKE + b"fps: 8\n", 3, "fps"),
        (LAKE + b"input_image: car.png\n", 3, "input_image"),
        (CAR.replace(b"input_image: car.png\n", b""), 1, "input_image"),
    ],
)
async def test_what_only_planning_finds_has_its_line_too(text: bytes, line: int, field: str) -> None:
    """The line of the key; that of its document for a key that is missing."""
    (problem,) = await problems(text)
    assert (problem["file"], problem.get("line"), problem["field"]) == ("a.yaml", line, field)


async def test_an_input_image_is_prepared_as_asked_and_kept_under_its_content() -> None:
    """The plan names what will be uploaded, and its size."""
    shelf = Shelf()
    (made,) = await prepared(CAR + b"resize: 16x16\ncrop: cover\n", shelf)
    image = made.plan.input_image
    assert image is not None
    assert (image.source, image.width, image.height) == ("car.png", 16, 16)
    assert list(shelf.kept) == [image.name] == [f"comfygen-{image.sha256[:32]}.png"]


async def test_an_input_image_is_read_once_for_each_way_to_prepare_it() -> None:
    """However many jobs start from it."""
    shelf = Shelf()
    made = await prepared(CAR + b"count: 5\n---\n" + CAR + b"resize: 16x16\n", shelf)
    assert (len(made), shelf.asked, len(shelf.kept)) == (6, ["car.png", "car.png"], 2)


async def test_an_image_that_cannot_be_used_is_a_mistake_like_any_other() -> None:
    """It does not exist, or it is no image."""
    shelf = Shelf(images={"notes.png": b"no image"})
    texts = [str(await problems(CAR.replace(b"car.png", name), shelf)) for name in (b"car.png", b"notes.png")]
    assert "There is no 'car.png'." in texts[0]
    assert "cannot be read" in texts[1]


async def test_a_store_that_is_away_is_no_mistake() -> None:
    """The request may be prepared again; one that has mistakes as well is refused for them."""
    with pytest.raises(StoreUnavailable) as caught:
        await prepared(LAKE + b"---\n" + CAR, Shelf(away={"car.png"}))
    assert isinstance(caught.value, ComfyGenError)
    assert len(await problems(CAR + b"---\n" + LAKE + b"fps: 8\n", Shelf(away={"car.png"}))) == 1


async def test_what_is_no_request_at_all_never_reaches_the_kitchen() -> None:
    """The parser's own mistakes come as they are."""
    with pytest.raises(RequestInvalid) as parsed:
        parse_requests(b"prompt: [\n", file="a.yaml")
    assert await problems(b"prompt: [\n") == [problem.to_json() for problem in parsed.value.problems]
