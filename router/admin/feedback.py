"""`POST /admin/v1/feedback`: how good an answer was, by whoever can tell. See docs/labels.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from router.admin import query
from router.api import json
from router.app import Farebox
from router.core import jsonio
from router.core.catalog import Caller
from router.core.entry import SHADOW
from router.core.errors import InvalidRequest, NoSuchPath
from router.core.labels import Asked, Label
from router.core.money import amount_nano
from router.labels import KEPT
from router.workers.answers import settled

FIELDS = ("request_id", "score", "label", "model", "source")
WORDS = {"good": 1.0, "bad": 0.0}
MOST_ITEMS = 1000
MOST_SOURCE = 64  # characters
RECENT = 600_000_000  # microseconds since a request began whose answer may have just been given
DAY = 86_400_000_000

Rows = Sequence[Mapping[str, Any]]


async def give(farebox: Farebox, request: web.Request, caller: Caller | None) -> web.Response:
    """Labels for one answer or several: all of them are kept, or none. A team's key may speak of its own requests."""
    query.only(request, ())
    try:
        told = jsonio.loads(await request.read())
    except jsonio.NotJson as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    items, places = (told, [f"[{i}]." for i in range(len(told))]) if isinstance(told, list) else ([told], [""])
    if not 0 < len(items) <= MOST_ITEMS:
        raise InvalidRequest(f"a list has 1 to {MOST_ITEMS} items")
    read = [_item(item, at) for item, at in zip(items, places, strict=True)]
    found = await _rows(farebox, {item["request_id"] for item in read})
    known = {name: rows for name, rows in found.items() if _is_here(farebox, rows, caller)}
    for item, at in zip(read, places, strict=True):
        if item["request_id"] not in known:
            raise NoSuchPath(
                f"no request {item['request_id']!r} is known whose answer could be judged",
                param=f"{at}request_id",
                details={"unknown": sorted({one["request_id"] for one in read} - known.keys())},
            )
    by, now = "admin" if caller is None else f"{caller.team}/{caller.key}", farebox.clock.now()
    labels = [
        _label(farebox, item, known[item["request_id"]], by, now, at) for item, at in zip(read, places, strict=True)
    ]
    await farebox.labels.give(labels, [_bare(rows) for rows in known.values()])
    return json({"object": "list", "data": [_shown(label) for label in labels]})


def _item(told: Any, at: str) -> dict[str, Any]:
    """One item, checked by itself. Raises `InvalidRequest`."""
    if not isinstance(told, dict):
        raise InvalidRequest("feedback is a JSON object, or a list of them", param=at.rstrip(".") or None)
    if unknown := told.keys() - set(FIELDS):
        first = min(unknown)
        raise InvalidRequest(f"unknown field {first!r}; known are {', '.join(FIELDS)}", param=f"{at}{first}")
    name, score, word, model = (told.get(field) for field in ("request_id", "score", "label", "model"))
    if not isinstance(name, str) or not name or len(name) > 128:
        raise InvalidRequest(
            "`request_id` must be that of an answer: see x-farebox-request-id", param=f"{at}request_id"
        )
    if word is not None and (not isinstance(word, str) or word not in WORDS):
        raise InvalidRequest('`label` must be "good" or "bad"', param=f"{at}label")
    if score is None and word is None:
        raise InvalidRequest("`score`, a number from 0 to 1, or `label` is needed", param=f"{at}score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1):
        raise InvalidRequest("`score` must be a number from 0 to 1", param=f"{at}score")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("`model` must be a name", param=f"{at}model")
    source = told.get("source", "human")
    if not isinstance(source, str) or not 0 < len(source) <= MOST_SOURCE or not source.isprintable():
        raise InvalidRequest(f"`source` must be 1 to {MOST_SOURCE} characters", param=f"{at}source")
    return {
        "request_id": name, "score": WORDS[str(word)] if score is None else float(score), "label": word, "model": model,
        "source": source,
    }  # fmt: skip


async def _rows(farebox: Farebox, names: set[str]) -> Mapping[str, Rows]:
    """The ledger's rows of these requests; an answer that has just been given is written down first."""
    found = await farebox.ledger.of_requests(names)
    recent = [rows for name, rows in found.items() if _is_recent(name, farebox.clock.now())]
    if not all(recent) or (recent and not farebox.siblings.alone):  # a sibling may still have to say what it answered
        await settled(farebox)
        found = await farebox.ledger.of_requests(names)
    return found


def _is_recent(name: str, now: int) -> bool:
    """Whether a request can have begun of late: its id has the time (see `new_request_id`)."""
    try:
        return abs(now - int(name[3:17], 16)) < RECENT
    except ValueError:
        return False


def _is_here(farebox: Farebox, rows: Rows, caller: Caller | None) -> bool:
    """Whether a request may be judged: it has an answer, is younger than what is kept, and is the caller's."""
    if not rows or rows[-1]["team"] == SHADOW or not any(row["outcome"] in KEPT for row in rows):
        return False
    oldest = farebox.clock.now() - farebox.labels.store.keep.days * DAY
    return query.instant(rows[0]["at"], "at") >= oldest and (caller is None or rows[0]["team"] == caller.team)


def _served(rows: Rows) -> Mapping[str, Any]:
    """The row of the attempt that the client's answer came from: the last of those that have one."""
    return [row for row in rows if row["outcome"] in KEPT][-1]


def _label(farebox: Farebox, item: Mapping[str, Any], rows: Rows, by: str, now: int, at: str) -> Label:
    served = _served(rows)
    name = item["model"] or served["model"]
    tiers = {row["model"]: row["tier"] for row in rows} | {
        model.name: str(model.tier) for model in farebox.snapshot.catalog.models.values()
    }
    if name not in tiers:
        raise InvalidRequest(f"no model is called {name!r}", param=f"{at}model")
    return Label(item["request_id"], name, tiers[name], item["source"], item["score"], now, by, item["label"])


def _bare(rows: Rows) -> Asked:
    """A request as the ledger has it."""
    row = _served(rows)
    return Asked(
        row["request_id"], query.instant(row["at"], "at"), row["team"], row["route"], row["model"], row["tier"],
        amount_nano(row["cost"]), row["propensity"],
    )  # fmt: skip


def _shown(label: Label) -> dict[str, Any]:
    return {
        "request_id": label.request_id, "model": label.model, "source": label.source, "score": label.score,
        "label": label.word,
    }  # fmt: skip
