"""The SQLite schema, as numbered steps that only go forward. Append; never edit a step that was released."""

# What a row adds to the sums of its hour and of its day. `{0}` stands before each column: nothing where rows are read,
# "NEW." where one is written. Both are text of step 7, so never edited either.
_LABELS = """{0}team, {0}key, {0}route, {0}model, {0}vendor, {0}tier, {0}outcome, {0}currency, {0}vendor_currency"""
_PROMPT = """ifnull({0}input_fresh, 0) + ifnull({0}cache_read, 0) + ifnull({0}cache_write_5m, 0)
    + ifnull({0}cache_write_1h, 0) + ifnull({0}input_audio, 0) + ifnull({0}input_image, 0) + ifnull({0}input_prepaid, 0)"""
_BOTH = (
    """{0}basis <> 'estimated' AND {0}outcome <> 'error' AND {0}prompt_estimate IS NOT NULL AND """ + _PROMPT + " > 0"
)
_ADDED = (
    """{0}attempt > 0, {0}final, {0}cost, {0}vendor_cost, CASE WHEN {0}basis = 'estimated' THEN {0}cost ELSE 0 END,
    CASE WHEN {0}outcome <> 'error' AND {0}flagship_cost > {0}cost THEN {0}flagship_cost - {0}cost ELSE 0 END,
    ifnull({0}input_fresh, 0) + ifnull({0}input_audio, 0) + ifnull({0}input_image, 0) + ifnull({0}input_prepaid, 0),
    ifnull({0}cache_read, 0), ifnull({0}cache_write_5m, 0) + ifnull({0}cache_write_1h, 0),
    ifnull({0}output_text, 0) + ifnull({0}output_audio, 0) + ifnull({0}output_image, 0)
    + ifnull({0}output_rejected, 0) + ifnull({0}output_prepaid, 0), ifnull({0}output_reasoning, 0),
    CASE WHEN """
    + _BOTH
    + " THEN {0}prompt_estimate ELSE 0 END, CASE WHEN "
    + _BOTH
    + " THEN "
    + _PROMPT
    + " ELSE 0 END, ifnull({0}fixed_cost, {0}cost)"
)
_SUMS = (
    "attempts", "requests", "cost", "vendor_cost", "estimated_cost", "saved", "input", "cache_read", "cache_write",
    "output", "reasoning", "prompt_estimate", "prompt_billed", "fixed_cost",
)  # fmt: skip
_HOUR, _DAY = 3_600_000_000, 86_400_000_000


def _spans() -> str:
    """Step 7: sums per hour and per day (UTC), kept by the ledger itself, whoever writes a row. Names are told once, so
    that a row costs one look for its names and two short ones for its sums.
    """
    labels, plus = _LABELS.format(""), ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    columns = ", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)
    named = ", ".join(f"{name.strip()} TEXT NOT NULL" for name in labels.split(","))
    added = ", ".join(f"sum({part})" for part in _parts(_ADDED.format("")))
    again = ", ".join(f"sum({name})" for name in _SUMS)
    return f"""
    CREATE TABLE names (id INTEGER PRIMARY KEY, {named}, UNIQUE ({labels}));
    CREATE TABLE spans (
        length INTEGER NOT NULL, start INTEGER NOT NULL, name INTEGER NOT NULL, {columns},
        PRIMARY KEY (length, start, name)
    ) WITHOUT ROWID;
    INSERT INTO names ({labels}) SELECT DISTINCT {labels} FROM ledger;
    INSERT INTO spans SELECT {_HOUR}, at - at % {_HOUR}, names.id, {added} FROM ledger JOIN names USING ({labels})
        GROUP BY at - at % {_HOUR}, names.id;
    INSERT INTO spans SELECT {_DAY}, start - start % {_DAY}, name, {again} FROM spans WHERE length = {_HOUR}
        GROUP BY start - start % {_DAY}, name;
    CREATE TRIGGER ledger_spans AFTER INSERT ON ledger BEGIN
        INSERT OR IGNORE INTO names ({labels}) VALUES ({_LABELS.format("NEW.")});
        INSERT INTO spans SELECT lengths.column1, NEW.at - NEW.at % lengths.column1, names.id, {_ADDED.format("NEW.")}
            FROM names CROSS JOIN (VALUES ({_HOUR}), ({_DAY})) AS lengths
            WHERE ({_LABELS.format("names.")}) = ({_LABELS.format("NEW.")})
            ON CONFLICT DO UPDATE SET {plus};
    END;
    """  # noqa: S608 (fixed text)


def _parts(text: str) -> list[str]:
    """A list of SQL expressions, split at the commas that are in no parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


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
    # 7: sums per hour and day, so that reports and the page do not read millions of rows
    _spans(),
    # 8: several processes that share a file: who lives, what each has leased of which budget, who made which attempt, and
    # what one at a time does for all.
    # Times are microseconds of the machine's monotonic clock; see `sqlleases`.
    """
    CREATE TABLE replicas (
        id TEXT PRIMARY KEY, until BIGINT NOT NULL, epoch TEXT NOT NULL DEFAULT '', config TEXT NOT NULL DEFAULT '',
        turn BIGINT NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE leases (
        account TEXT NOT NULL, start BIGINT NOT NULL, replica TEXT NOT NULL, nano BIGINT NOT NULL,
        settled BIGINT NOT NULL, wanted BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (account, start, replica)
    ) WITHOUT ROWID;
    CREATE INDEX leases_replica ON leases (replica);
    CREATE INDEX leases_wanted ON leases (wanted) WHERE wanted > 0;
    CREATE TABLE turns (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL) WITHOUT ROWID;
    ALTER TABLE attempts ADD COLUMN replica TEXT NOT NULL DEFAULT '';
    CREATE INDEX attempts_replica ON attempts (replica);
    """,
    # 9: rows are added to the sums later, many at once: up to which row that is done, for each length of span (0 is all
    # time), and the last row as it was written, which the sums alone no longer prove. A row moves it on only if it follows
    # it, so that what was done to the end of the chain is never forgotten. A writer of an earlier version, which would add
    # its rows to `totals` itself, can write none.
    """
    DROP TRIGGER ledger_spans;
    CREATE TABLE folds (length INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
    INSERT INTO folds SELECT lengths.column1, coalesce((SELECT max(seq) FROM ledger), 0)
        FROM (VALUES (0), (3600000000), (86400000000)) AS lengths;
    INSERT INTO spans SELECT 0, 0, name, sum(attempts), sum(requests), sum(cost), sum(vendor_cost), sum(estimated_cost),
        sum(saved), sum(input), sum(cache_read), sum(cache_write), sum(output), sum(reasoning), sum(prompt_estimate),
        sum(prompt_billed), sum(fixed_cost) FROM spans WHERE length = 86400000000 GROUP BY name;
    DROP TABLE totals;
    CREATE TABLE head (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL);
    INSERT INTO head VALUES (1, 0, zeroblob(32));
    UPDATE head SET (seq, hash) = (SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1)
        WHERE EXISTS (SELECT 1 FROM ledger);
    CREATE TRIGGER ledger_head AFTER INSERT ON ledger BEGIN
        UPDATE head SET seq = NEW.seq, hash = NEW.hash WHERE seq = NEW.seq - 1
            AND (seq = 0 OR hash = (SELECT hash FROM ledger WHERE seq = NEW.seq - 1));
    END;
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
