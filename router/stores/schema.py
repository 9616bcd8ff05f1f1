"""The SQLite schema, as numbered steps that only go forward. Append; never edit a step that was released."""

STEPS: tuple[str, ...] = (
    # 1: the spine
    """
    CREATE TABLE attempts (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;

    CREATE TABLE ledger (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        request_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at INTEGER NOT NULL,
        team TEXT NOT NULL,
        key TEXT NOT NULL,
        route TEXT NOT NULL,
        model TEXT NOT NULL,
        vendor TEXT NOT NULL,
        tier TEXT NOT NULL,
        outcome TEXT NOT NULL,
        basis TEXT NOT NULL,
        input_fresh INTEGER,
        cache_read INTEGER,
        cache_write_5m INTEGER,
        cache_write_1h INTEGER,
        output_text INTEGER,
        output_reasoning INTEGER,
        cost INTEGER NOT NULL,
        currency TEXT NOT NULL,
        vendor_cost INTEGER NOT NULL,
        vendor_currency TEXT NOT NULL,
        flagship_cost INTEGER NOT NULL,
        held INTEGER NOT NULL,
        price TEXT NOT NULL,
        reason TEXT NOT NULL,
        tags TEXT NOT NULL,
        final INTEGER NOT NULL,
        first_byte_ms INTEGER,
        total_ms INTEGER,
        hash BLOB NOT NULL
    );
    CREATE INDEX ledger_at ON ledger (at);

    CREATE TABLE accounts (account TEXT PRIMARY KEY, live INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE spend (
        account TEXT NOT NULL, start INTEGER NOT NULL, nano INTEGER NOT NULL, PRIMARY KEY (account, start)
    ) WITHOUT ROWID;

    CREATE TABLE totals (
        team TEXT NOT NULL, route TEXT NOT NULL, model TEXT NOT NULL, vendor TEXT NOT NULL, tier TEXT NOT NULL,
        outcome TEXT NOT NULL, currency TEXT NOT NULL, vendor_currency TEXT NOT NULL,
        attempts INTEGER NOT NULL, requests INTEGER NOT NULL, cost INTEGER NOT NULL, vendor_cost INTEGER NOT NULL,
        estimated_cost INTEGER NOT NULL, saved INTEGER NOT NULL, input INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        cache_write INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
        PRIMARY KEY (team, route, model, vendor, tier, outcome, currency, vendor_currency)
    ) WITHOUT ROWID;

    CREATE TABLE keys (
        id TEXT PRIMARY KEY, team TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL, expires INTEGER, revoked INTEGER
    );
    """,
    # 2: more leaves, the vendor's own charge, the tier that served it, free quotas, what the prompt was estimated at
    """
    ALTER TABLE ledger ADD COLUMN input_audio INTEGER;
    ALTER TABLE ledger ADD COLUMN input_image INTEGER;
    ALTER TABLE ledger ADD COLUMN input_prepaid INTEGER;
    ALTER TABLE ledger ADD COLUMN output_audio INTEGER;
    ALTER TABLE ledger ADD COLUMN output_image INTEGER;
    ALTER TABLE ledger ADD COLUMN output_rejected INTEGER;
    ALTER TABLE ledger ADD COLUMN output_prepaid INTEGER;
    ALTER TABLE ledger ADD COLUMN searches INTEGER;
    ALTER TABLE ledger ADD COLUMN images INTEGER;
    ALTER TABLE ledger ADD COLUMN list_cost INTEGER;
    ALTER TABLE ledger ADD COLUMN service_tier TEXT;
    ALTER TABLE ledger ADD COLUMN free_tokens INTEGER;
    ALTER TABLE ledger ADD COLUMN prompt_estimate INTEGER;
    ALTER TABLE ledger ADD COLUMN prompt_high INTEGER;
    CREATE INDEX ledger_free ON ledger (vendor, model, at) WHERE free_tokens IS NOT NULL;
    """,
    # 3: what the vendor calls its answer, so that an invoice can be matched
    """
    ALTER TABLE ledger ADD COLUMN vendor_id TEXT;
    """,
    # 4: what the best fixed model would have cost; where nobody kept it, no saving is claimed
    """
    ALTER TABLE ledger ADD COLUMN fixed_cost INTEGER;
    ALTER TABLE totals ADD COLUMN fixed_cost INTEGER NOT NULL DEFAULT 0;
    UPDATE totals SET fixed_cost = cost;
    """,
    # 5: the probability with which a model was drawn, where a route explores
    """
    ALTER TABLE ledger ADD COLUMN propensity REAL;
    """,
    # 6: alerts that were found, for each target; those without `done` are still to be sent
    """
    CREATE TABLE alerts (
        id TEXT NOT NULL, target TEXT NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL, done INTEGER,
        PRIMARY KEY (id, target)
    ) WITHOUT ROWID;
    CREATE INDEX alerts_waiting ON alerts (at) WHERE done IS NULL;
    """,
)
VERSION = len(STEPS)

_FIRST = (
    "id", "request_id", "attempt", "at", "team", "key", "route", "model", "vendor", "tier", "outcome", "basis",
    "input_fresh", "cache_read", "cache_write_5m", "cache_write_1h", "output_text", "output_reasoning",
    "cost", "currency", "vendor_cost", "vendor_currency", "flagship_cost", "held", "price", "reason", "tags", "final",
    "first_byte_ms", "total_ms",
)  # fmt: skip
# Those that a later step added, in the order of the steps. All may be NULL, and are where nobody knew them yet.
_LATER = (
    "input_audio", "input_image", "input_prepaid", "output_audio", "output_image", "output_rejected", "output_prepaid",
    "searches", "images", "list_cost", "service_tier", "free_tokens", "prompt_estimate", "prompt_high",
    "vendor_id", "fixed_cost", "propensity",
)  # fmt: skip
# The ledger's columns as they are inserted and hashed, in order; `seq` and `hash` come from the ledger itself.
COLUMNS = (*_FIRST, *_LATER)
ALWAYS_HASHED = len(_FIRST)
"""So many columns are always hashed; those after them up to the last that is not NULL, so that a row keeps its hash when
a step adds columns behind it."""
