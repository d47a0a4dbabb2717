"""The tables of queue.db, as migrations. Only ever add to them."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

APPLICATION_ID = 0x43474C31  # "CGL1"
SCHEMA_VERSION = 1
migrations = Migrations("comfygen-ledger")


@migrations()
def first_tables(db: Database) -> None:
    """Requests, jobs, outputs in the spool, attempts and the story of every transition."""
    for statement in TABLES:
        db.execute(statement)


@migrations()
def indexes_by_state(db: Database) -> None:
    """A partial index serves only conditions that repeat its own word for word; whole ones serve every question about
    what is open, however much history there is."""
    for statement in BY_STATE:
        db.execute(statement)


@migrations()
def indexes_by_age(db: Database) -> None:
    """The ids of requests from a bucket do not sort by time: what is older is told by `stamp`."""
    for statement in BY_AGE:
        db.execute(statement)


TABLES = (
    """CREATE TABLE requests (
        id TEXT PRIMARY KEY,
        inbox TEXT NOT NULL,
        name TEXT NOT NULL,
        identity TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        body BLOB NOT NULL,
        state TEXT NOT NULL,
        claimed INTEGER NOT NULL DEFAULT 0,
        filed INTEGER NOT NULL DEFAULT 0,
        tries INTEGER NOT NULL DEFAULT 1,
        inherited INTEGER NOT NULL DEFAULT 0,
        stamp TEXT NOT NULL,
        received_at TEXT NOT NULL,
        ended_at TEXT,
        notes TEXT NOT NULL DEFAULT '[]',
        error TEXT
    )""",
    "CREATE INDEX requests_unclaimed ON requests (inbox, identity, sha256) WHERE claimed = 0",
    "CREATE INDEX requests_open ON requests (state) WHERE state IN ('received', 'accepted')",
    "CREATE INDEX requests_unfiled ON requests (ended_at) WHERE filed = 0",
    "CREATE INDEX requests_failed ON requests (inbox, identity, sha256) WHERE state = 'failed'",
    """CREATE TABLE names (
        id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL REFERENCES requests (id)
    )""",
    """CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL REFERENCES requests (id),
        position INTEGER NOT NULL,
        batch_index INTEGER NOT NULL,
        batch_of INTEGER NOT NULL,
        state TEXT NOT NULL,
        priority INTEGER NOT NULL,
        not_before TEXT,
        stamp TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        prompt_id TEXT,
        backend TEXT,
        inherited INTEGER NOT NULL DEFAULT 0,
        refused_by TEXT NOT NULL DEFAULT '[]',
        timings TEXT NOT NULL DEFAULT '{}',
        error TEXT,
        request TEXT NOT NULL,
        plan TEXT NOT NULL
    )""",
    "CREATE INDEX jobs_of_request ON jobs (request_id, position)",
    "CREATE INDEX jobs_open ON jobs (state, priority DESC, request_id, position) "
    "WHERE state IN ('queued', 'submitted', 'generated')",
    "CREATE INDEX jobs_cancelled ON jobs (id) WHERE state = 'cancelled'",
    """CREATE TABLE outputs (
        job_id TEXT NOT NULL REFERENCES jobs (id),
        n INTEGER NOT NULL,
        node TEXT NOT NULL,
        path TEXT NOT NULL,
        key TEXT NOT NULL,
        media_type TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        width INTEGER,
        height INTEGER,
        frames INTEGER,
        fps REAL,
        url TEXT,
        PRIMARY KEY (job_id, n)
    ) WITHOUT ROWID""",
    """CREATE TABLE attempts (
        prompt_id TEXT PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES jobs (id),
        attempt INTEGER NOT NULL,
        backend TEXT NOT NULL,
        taken_at TEXT NOT NULL,
        ended_at TEXT,
        error TEXT
    )""",
    "CREATE INDEX attempts_of_job ON attempts (job_id, attempt)",
    """CREATE TABLE transitions (
        id INTEGER PRIMARY KEY,
        subject TEXT NOT NULL,
        before TEXT,
        after TEXT NOT NULL,
        at TEXT NOT NULL,
        reason TEXT
    )""",
    "CREATE INDEX transitions_of_subject ON transitions (subject)",
    """CREATE TABLE recalls (
        prompt_id TEXT PRIMARY KEY,
        backend TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE switches (
        name TEXT PRIMARY KEY,
        since TEXT NOT NULL
    ) WITHOUT ROWID""",
)
BY_STATE = (
    "DROP INDEX requests_open",
    "DROP INDEX jobs_open",
    "CREATE INDEX requests_state ON requests (state)",
    "CREATE INDEX jobs_state ON jobs (state, priority DESC, request_id, position)",
)
BY_AGE = (
    "DROP INDEX jobs_state",
    "CREATE INDEX jobs_state ON jobs (state, priority DESC, stamp, request_id, position)",
    "CREATE INDEX jobs_newest ON jobs (stamp DESC, request_id DESC, position)",
)
