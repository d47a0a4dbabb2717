"""How long history takes to answer: milliseconds per question over an index of any size.

    python tests/benchmarks/bench_index.py rows=100000 [keep=/tmp/index.db]

Two floors stand beside the answers: `lookup` is one row by its key, the least that any question costs; `scan` reads
every prompt, which is what a question costs that no index answers.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from comfygen.generation import Generation, GenerationLora
from comfygen.generation.fields import spelled
from comfygen.index import Index
from comfygen.index.queries import (
    GALLERY,
    GALLERY_WORDS,
    LORA_GENERATIONS,
    LORA_USAGE,
    PROMPT_CONTAINS,
    PROMPT_WORDS,
    SEED_RANGE,
    VALIDATED,
    escape_fts,
)

WORDS = ("mountain", "lake", "robot", "car", "dancer", "harbour", "forest", "river", "tower", "garden", "snow", "storm")
MOODS = ("calm", "golden", "misty", "quiet", "bright", "rainy", "frozen", "distant", "ancient", "modern")
PRESETS = ("draft", "balanced", "high-quality", "fast", "ultra", None)
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde")
WORKFLOWS = ("flux-dev.json", "sd15-img2img.json", "wan22-t2v.json", "wan22-i2v.json")
LORAS = tuple(f"style-{n}.safetensors" for n in range(60))
Asked = tuple[str, dict[str, object]]

TABLE_PAGE = "select * from generations order by timestamp desc limit 51"
NEXT_PAGE = (
    "select * from generations where (timestamp < :at or timestamp is null or (timestamp = :at and key > :key)) "
    "order by timestamp desc, key limit 51"
)
FACET = "select {0} as value, count(*) as count from (select * from generations) where {0} is not null group by {0}"
QUESTIONS: dict[str, Asked] = {
    "prompt contains, rare": (PROMPT_CONTAINS.sql, {"text": "zeppelin"}),
    "prompt contains, common": (PROMPT_CONTAINS.sql, {"text": "mountain"}),
    "prompt contains, nowhere": (PROMPT_CONTAINS.sql, {"text": "xyzzy"}),
    "prompt contains, two letters": (PROMPT_CONTAINS.sql, {"text": "ze"}),
    "words, rare": (PROMPT_WORDS.sql, {"words": "zeppelins"}),
    "words, common": (PROMPT_WORDS.sql, {"words": "mountains calm"}),
    "seed range, narrow": (SEED_RANGE.sql, {"seed_from": "10000", "seed_to": "20000"}),
    "seed range, everything": (SEED_RANGE.sql, {"seed_from": "", "seed_to": ""}),
    "validated at or above 0.8": (VALIDATED.sql, {"at_least": ""}),
    "lora usage": (LORA_USAGE.sql, {}),
    "generations with a lora": (LORA_GENERATIONS.sql, {"lora": LORAS[0]}),
    "gallery page": (GALLERY, {"before": 2**62, "size": 61}),
    "gallery page, searched": (GALLERY_WORDS, {"before": 2**62, "size": 61, "words": "mountain"}),
    "table page": (TABLE_PAGE, {}),
    "table count": ("select count(*) from generations", {}),
    **{f"facet {name}": (FACET.format(name), {}) for name in ("preset", "workflow", "sampler", "model", "project")},
}


def generations(rows: int) -> Iterator[Generation]:
    """Made-up history, one every 30 seconds, in the order of its keys."""
    dice, start = random.Random(7), datetime(2025, 1, 1, tzinfo=UTC)
    for n in range(rows):
        at = start + timedelta(seconds=30 * n)
        key = f"{at:%Y%m%d_%H%M%S}_output-{n:012d}.png"
        rare = " with a zeppelin" if n % 500 == 0 else ""
        scene = f"a {dice.choice(MOODS)} {dice.choice(WORDS)} beside a {dice.choice(MOODS)} {dice.choice(WORDS)}"
        yield Generation(
            key=key,
            timestamp=spelled(at),
            prompt=f"{scene}{rare}, highly detailed, photograph number {n}",
            negative_prompt="blurry, low quality, watermark",
            workflow=dice.choice(WORKFLOWS),
            preset=dice.choice(PRESETS),
            seed=dice.randrange(2**53) if n % 1000 else 2**64 - 1 - n,
            steps=20,
            cfg=7.0,
            sampler=dice.choice(SAMPLERS),
            scheduler="normal",
            validation_score=round(dice.random(), 3) if n % 10 == 0 else None,
            minio_url=f"http://127.0.0.1:9000/comfy-gen/{key}",
            width=512,
            height=512,
            models=("v1-5-pruned-emaonly-fp16.safetensors",),
            loras=tuple(
                GenerationLora(position=place, name=dice.choice(LORAS), strength=0.8)
                for place in range(n % 3 % 2 + n % 2)
            ),
            tags=("benchmark",),
            project=f"project-{n % 20}",
            id=f"{n:012d}",
            sha256=f"{n:064x}",
            sidecar_etag=f"{n:032x}",
        )


def ask(connection: sqlite3.Connection, asked: Asked, times: int = 9) -> float:
    """The median milliseconds of a question, all of its rows fetched."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        connection.execute(*asked).fetchall()
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent)


def fill(path: Path, rows: int) -> None:
    began = time.perf_counter()
    index = Index.open(path)
    written = index.upsert_many(generations(rows))
    spent = time.perf_counter() - began
    index.checkpoint()
    index.close()
    print(
        f"filled: {written} rows in {spent:.1f} s, {written / spent:.0f} rows/s, {path.stat().st_size / 2**20:.0f} MiB"
    )


def report(path: Path) -> None:
    began = time.perf_counter()
    Index.open(path).close()
    print(f"opened, with all its checks, in {(time.perf_counter() - began) * 1000:.0f} ms")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.create_function("escape_fts", 1, escape_fts)
    middle = "(select count(*) / 2 from generations)"
    sql = f"select key, timestamp from generations order by timestamp desc limit 1 offset {middle}"
    key, at = connection.execute(sql).fetchone()
    floors: dict[str, Asked] = {
        "floor: lookup": ("select * from generations where key = :key", {"key": key}),
        "floor: scan": ("select count(*) from generations where prompt like '%xyzzy%'", {}),
    }
    later: dict[str, Asked] = {"table page, in the middle": (NEXT_PAGE, {"key": key, "at": at})}
    for name, asked in (floors | QUESTIONS | later).items():
        print(f"{name:32} {ask(connection, asked):10.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="rows=N|keep=PATH", help="default: rows=100000, thrown away")
    settings = dict(setting.split("=", 1) for setting in parser.parse_args().settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(settings.get("keep") or f"{folder}/index.db")
        if not path.exists():
            fill(path, int(settings.get("rows", "100000")))
        report(path)


if __name__ == "__main__":
    main()
