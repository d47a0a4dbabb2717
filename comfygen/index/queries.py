"""The questions that history is asked, as SQL that a person can read, change and keep.

Each of them walks an index or a full-text table and stops after 200 rows, so that it is instant at a million rows.
`escape_fts` is Datasette's: it quotes what a person typed; Index brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LIMIT: Final = 200

LORAS: Final = """(
    select json_group_array(json_object('name', l.name, 'strength', gl.strength))
    from generation_loras gl join loras l on l.id = gl.lora_id
    where gl.generation_key = g.key
  ) as loras"""
SHOWN: Final = f"""g.key, g.prompt, {LORAS},
  g.workflow, g.preset, g.seed_text as seed, g.validation_score, g.timestamp, g.minio_url"""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question: its SQL takes the named parameters, each of which may be empty."""

    name: str
    title: str
    description: str
    sql: str
    parameters: tuple[str, ...] = ()


PROMPT_CONTAINS: Final = Query(
    name="prompt_contains",
    title="Prompt contains …",
    description="The newest generations whose prompt contains a text, be it part of a word; a-z and A-Z are the same.",
    parameters=("text",),
    sql=f"""select * from (
  select {SHOWN}
  from generations_letters t join generations g on g.rowid = t.rowid
  where length(:text) >= 3
    and t.prompt like '%' || :text || '%'
    and instr(lower(g.prompt), lower(:text)) > 0
  order by t.rowid desc limit {LIMIT}
)
union all
select * from (
  select {SHOWN}
  from generations g
  where length(:text) < 3 and instr(lower(g.prompt), lower(:text)) > 0
  order by g.rowid desc limit {LIMIT}
)""",
)

PROMPT_WORDS: Final = Query(
    name="prompt_words",
    title="Search words",
    description="The newest generations with all of these words, in any form, in prompt, tags or project. "
    'Several words in "quotes" have to follow each other.',
    parameters=("words",),
    sql=f"""select {SHOWN}
from generations_words join generations g on g.rowid = generations_words.rowid
where generations_words match
  '{{prompt tags project}} : (' || coalesce(nullif(escape_fts(:words), ''), '""') || ')'
order by generations_words.rowid desc limit {LIMIT}""",
)

SEED_RANGE: Final = Query(
    name="seed_range",
    title="Seed from … to …",
    description="Generations by seed, both ends included. Exact for every seed, also for those beyond 2^63.",
    parameters=("seed_from", "seed_to"),
    sql=f"""select * from (
  select {SHOWN}
  from generations g
  where g.seed between coalesce(nullif(:seed_from, ''), 0) and coalesce(nullif(:seed_to, ''), 18446744073709551615)
  order by g.seed limit {LIMIT}
)
union all
select * from (
  select {SHOWN}
  from generations g
  where length(g.seed_text) > 18 and +g.seed is null
    and substr('0' || g.seed_text, -20) between substr('00000000000000000000' || trim(:seed_from), -20)
      and substr('00000000000000000000' || coalesce(nullif(trim(:seed_to), ''), '18446744073709551615'), -20)
  order by substr('0' || g.seed_text, -20) limit {LIMIT}
)
limit {LIMIT}""",
)

VALIDATED: Final = Query(
    name="validated",
    title="Validated at or above …",
    description="Generations whose validation score reaches a threshold (0.8 if empty), the best first.",
    parameters=("at_least",),
    sql=f"""select {SHOWN}
from generations g
where g.validation_score >= coalesce(nullif(:at_least, ''), 0.8)
order by g.validation_score desc limit {LIMIT}""",
)

LORA_USAGE: Final = Query(
    name="lora_usage",
    title="LoRA usage",
    description="How often each LoRA was used, and when first and last.",
    sql="""select l.name as lora, count(*) as uses, min(gl.timestamp) as first_used, max(gl.timestamp) as last_used
from generation_loras gl join loras l on l.id = gl.lora_id
group by gl.lora_id
order by uses desc, lora""",
)

LORA_GENERATIONS: Final = Query(
    name="lora_generations",
    title="Generations with the LoRA …",
    description="The newest generations that a LoRA had a part in.",
    parameters=("lora",),
    sql=f"""select {SHOWN}
from loras u
  join generation_loras use on use.lora_id = u.id
  join generations g on g.key = use.generation_key
where u.name = :lora
group by use.timestamp, use.generation_key
order by use.timestamp desc, use.generation_key
limit {LIMIT}""",
)

QUERIES: Final = (PROMPT_CONTAINS, PROMPT_WORDS, SEED_RANGE, VALIDATED, LORA_USAGE, LORA_GENERATIONS)

GALLERY_COLUMNS: Final = "g.rowid, g.key, g.prompt, g.timestamp, g.media_type, g.width, g.height, g.image_missing"
GALLERY: Final = f"""select {GALLERY_COLUMNS}
from generations g
where g.rowid < :before
order by g.rowid desc limit :size"""
GALLERY_WORDS: Final = f"""select {GALLERY_COLUMNS}
from generations_words join generations g on g.rowid = generations_words.rowid
where generations_words match
  '{{prompt tags project}} : (' || coalesce(nullif(escape_fts(:words), ''), '""') || ')'
  and generations_words.rowid < :before
order by generations_words.rowid desc limit :size"""


def escape_fts(text: str) -> str:
    """What a person typed as full-text search: every word quoted, so that no operator is meant by accident."""
    parts = f"{text} ".split('"')
    quoted = [part.split() if n % 2 == 0 else [part] for n, part in enumerate(parts)]
    return " ".join(f'"{word}"' for words in quoted for word in words if word.strip())
