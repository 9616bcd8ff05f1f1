"""`GET /openapi.json`: every endpoint of Farebox as OpenAPI 3.1, made from one table. docs/http.md has the words.

Bodies of the vendors' wires are open: fields that Farebox does not read pass through, so only those that it reads are
listed. Farebox's own answers are closed: an answer that is not as told here is a fault, and a test.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from aiohttp import web

from router import __version__
from router.admin.spend import BY
from router.core import jsonio
from router.core.usage import LEAVES

Schema = dict[str, Any]

STR: Schema = {"type": "string"}
INT: Schema = {"type": "integer"}
BOOL: Schema = {"type": "boolean"}
NUM: Schema = {"type": "number"}
ANY: Schema = {}
OPEN: Schema = {"type": "object"}
MONEY: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
WHEN: Schema = {"type": "string", "format": "date-time"}
DATE_OR_TIME: Schema = {"type": "string", "examples": ["2026-01-31", "2026-01-31T08:00:00Z"]}


def const(value: str) -> Schema:
    return {"const": value}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def each(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def obj(fields: Mapping[str, Schema], optional: Sequence[str] = (), *, closed: bool = True) -> Schema:
    """An object of these fields, of which some may be absent; open where others may be there too."""
    required = [name for name in fields if name not in optional]
    told: Schema = {"type": "object", "properties": fields, "required": required}
    return {**told, "additionalProperties": False} if closed else told


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _open(fields: Mapping[str, Schema], *optional: str) -> Schema:
    return obj(fields, optional, closed=False)


_MESSAGE = _open({"role": STR, "content": ANY}, "content")
_QUALITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_WISHES: Mapping[str, Schema] = {
    "quality": _QUALITY, "max_cost": {"type": ["string", "number"]}, "tier": STR, "vendors": many(STR), "tags": each(STR),
    "dry_run": BOOL,
}  # fmt: skip
_ASKED: Mapping[str, Schema] = {"model": STR, "stream": BOOL, "max_tokens": INT, "farebox": ref("Wishes")}
_MAY = ("stream", "max_tokens", "farebox")
_MAY_RESPOND = ("stream", "max_output_tokens", "farebox")
_CHAT: Mapping[str, Schema] = {
    **_ASKED, "messages": many(_MESSAGE), "max_completion_tokens": INT, "n": INT, "stream_options": OPEN,
}  # fmt: skip
_TEXT: Schema = {"anyOf": [STR, many(STR)]}
_KEY: Mapping[str, Schema] = {
    "id": maybe(STR), "team": STR, "name": STR, "source": {"enum": ["config", "store"]},
    "status": {"enum": ["valid", "expired", "revoked"]}, "created": maybe(WHEN), "expires": maybe(WHEN), "revoked": maybe(WHEN),
}  # fmt: skip
_NAME: Schema = {"type": "string", "pattern": r"^[^\s|,/]{1,128}$"}
_SUMS: Mapping[str, Schema] = {
    "requests": INT, "failed": INT, "attempts": INT, "cost": MONEY, "currency": STR, "vendor_costs": each(MONEY),
    "estimated_cost": MONEY, "saved": MONEY, "fixed_cost": MONEY, "tokens": each(INT),
}  # fmt: skip
_CANDIDATE = _open({"model": STR, "vendor": STR, "tier": STR, "place": maybe(INT), "lost": maybe(STR)})
_DECISION: Mapping[str, Schema] = {
    "object": const("farebox.decision"), "id": STR, "route": STR, "at": WHEN, "chosen": maybe(STR), "reason": STR,
    "currency": STR, "candidates": many(_CANDIDATE),
}  # fmt: skip
_ROW: Mapping[str, Schema] = {
    "seq": INT, "id": STR, "request_id": STR, "attempt": INT, "at": WHEN, "team": STR, "key": STR, "route": STR, "model": STR,
    "vendor": STR, "tier": STR, "outcome": {"enum": ["ok", "error", "cut", "left", "abandoned"]},
    "basis": {"enum": ["reported", "vendor_cost", "estimated"]}, "cost": MONEY, "currency": STR, "vendor_cost": MONEY,
    "vendor_currency": STR, "flagship_cost": MONEY, "held": MONEY, "price": STR, "reason": STR, "tags": each(STR), "final": BOOL,
    "first_byte_ms": maybe(INT), "total_ms": maybe(INT), "prompt_estimate": maybe(INT), "prompt_high": maybe(INT),
    "service_tier": maybe(STR), "free_tokens": maybe(INT), "vendor_id": maybe(STR), "list_cost": maybe(MONEY),
    "fixed_cost": maybe(MONEY),
    "propensity": maybe(NUM),
    "usage": obj(dict.fromkeys(LEAVES, INT), LEAVES), "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}  # fmt: skip
_BUDGET: Mapping[str, Schema] = {
    "owner": STR, "per": STR, "timezone": STR, "currency": STR, "limit": MONEY, "spent": MONEY, "held": MONEY, "remaining": MONEY,
    "forecast": MONEY, "starts_at": maybe(WHEN), "resets_at": maybe(WHEN), "soft": maybe(MONEY),
    "on_exceed": {"enum": ["refuse", "allow"]},
}  # fmt: skip
_PRICE: Mapping[str, Schema] = {
    "model": STR, "vendor": STR, "tier": STR, "price": maybe(STR), "currency": maybe(STR), "rates": maybe(many(each(maybe(STR)))),
    "from": maybe(WHEN), "since": maybe(STR), "source": maybe(STR), "confidence": maybe(STR), "next": many(STR), "unpriced": maybe(STR),
}  # fmt: skip
_GRADE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_WORD: Schema = {"enum": ["good", "bad"]}
_FEEDBACK = obj(
    {
        "request_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "score": _GRADE,
        "label": _WORD,
        "model": STR,
        "source": STR,
    },
    ("score", "label", "model", "source"),
)
_MODEL = _open({"id": STR, "object": const("model"), "created": INT, "owned_by": STR})


def _list(item: Schema, more: Mapping[str, Schema]) -> Schema:
    return obj({"object": const("list"), "data": many(item), **more})


SCHEMAS: Mapping[str, Schema] = {
    "Error": _open({"error": _open({"message": STR, "type": STR, "param": maybe(STR), "code": STR})}),
    "AnthropicError": _open({"type": const("error"), "error": _open({"type": STR, "message": STR, "code": STR})}),
    "Wishes": _open(_WISHES, *_WISHES),
    "Chat": _open(_CHAT, *_MAY, "max_completion_tokens", "n", "stream_options"),
    "Completion": _open({**_ASKED, "prompt": _TEXT, "n": INT}, *_MAY, "n"),
    "Embedding": _open({"model": STR, "input": _TEXT, "farebox": ref("Wishes")}, "farebox"),
    "Messages": _open({**_ASKED, "messages": many(_MESSAGE), "system": ANY}, *_MAY, "system"),
    "Responses": _open(
        {"model": STR, "input": ANY, "stream": BOOL, "max_output_tokens": INT, "farebox": ref("Wishes")}, *_MAY_RESPOND
    ),
    "Answer": OPEN,
    "Count": obj({"input_tokens": INT}),
    "Model": _MODEL,
    "Models": _open({"object": const("list"), "data": many(_MODEL)}),
    "Spend": _list(
        obj({**dict.fromkeys(BY, STR), **_SUMS}, BY),
        {"by": many(STR), "since": maybe(WHEN), "until": maybe(WHEN), "total": many(obj(_SUMS))},
    ),
    "Ledger": _list(obj(_ROW), {"next": INT, "more": BOOL}),
    "Budgets": _list(obj(_BUDGET), {"at": WHEN}),
    "Decision": _open({**_DECISION, "team": STR}),
    "Reloaded": obj({"ok": {"const": True}, "warnings": many(STR)}),
    "Prices": _list(obj(_PRICE), {"at": WHEN}),
    "Keys": _list(obj(_KEY), {}),
    "NewKey": obj({"team": _NAME, "name": _NAME, "expires": maybe(DATE_OR_TIME)}, ("expires",)),
    "MadeKey": obj({**_KEY, "key": STR}),
    "Feedback": {"anyOf": [_FEEDBACK, {**many(_FEEDBACK), "minItems": 1, "maxItems": 1000}]},
    "Given": _list(obj({"request_id": STR, "model": STR, "source": STR, "score": _GRADE, "label": maybe(_WORD)}), {}),
    "RevokedKey": obj({"id": STR, "revoked": {"const": True}}),
}


class Operation(NamedTuple):
    """One endpoint. Errors have the shape of its dialect."""

    summary: str
    answers: Mapping[int, str]  # status → schema, or a content type
    auth: str = ""  # "key" or "admin"
    body: str = ""
    errors: Sequence[int] = ()
    query: Mapping[str, Schema] = {}
    error: str = "Error"


MODEL_ERRORS = (400, 401, 402, 403, 404, 413, 429, 500, 502, 503, 504)
ADMIN_ERRORS = (400, 401, 403, 500, 503)
SINCE_UNTIL: Mapping[str, Schema] = {"since": DATE_OR_TIME, "until": DATE_OR_TIME}


def _asks(summary: str, body: str, error: str = "Error") -> Operation:
    return Operation(summary, {200: "Answer"}, "key", body, MODEL_ERRORS, {}, error)


def _admin(
    summary: str, answers: Mapping[int, str], *errors: int, body: str = "", query: Mapping[str, Schema] | None = None
) -> Operation:
    return Operation(summary, answers, "admin", body, (*ADMIN_ERRORS, *errors), query or {})


LANG: Mapping[str, Schema] = {"lang": {"enum": ["en", "zh"]}}
HTML, TEXT, CSS, SCRIPT, SVG = "text/html", "text/plain", "text/css", "text/javascript", "image/svg+xml"
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): _asks("A chat completion, plain or streamed", "Chat"),
    ("POST", "/v1/completions"): _asks("A completion, plain or streamed", "Completion"),
    ("POST", "/v1/embeddings"): _asks("Embeddings", "Embedding"),
    ("POST", "/v1/responses"): _asks("OpenAI's responses, plain or streamed", "Responses"),
    ("POST", "/v1/messages"): _asks("Anthropic's messages, plain or streamed", "Messages", "AnthropicError"),
    ("POST", "/v1/messages/count_tokens"): Operation(
        "A prompt's tokens as Farebox estimates them", {200: "Count"}, "key", "Messages", MODEL_ERRORS, {}, "AnthropicError"
    ),
    ("GET", "/v1/models"): Operation("What this key may name", {200: "Models"}, "key", errors=(401,)),
    ("GET", "/v1/models/{name}"): Operation("One name that this key may use", {200: "Model"}, "key", errors=(401, 404)),
    ("GET", "/health/live"): Operation("The process runs", {200: TEXT}),
    ("GET", "/health/ready"): Operation("It takes requests", {200: TEXT, 503: TEXT}),
    ("GET", "/metrics"): Operation("Prometheus", {200: TEXT}),
    ("GET", "/openapi.json"): Operation("This document", {200: "Answer"}),
    ("GET", "/"): Operation("The page", {200: HTML, 503: HTML}, query={"span": {"enum": ["day", "week", "month", "all"]}, **LANG, "refresh": STR}),
    ("GET", "/page.css"): Operation("Its style sheet", {200: CSS}),
    ("GET", "/page.js"): Operation("What refreshes it", {200: SCRIPT}),
    ("GET", "/page.svg"): Operation("Its icon", {200: SVG}),
    ("POST", "/login"): Operation("Log in to the page", {303: "", 400: HTML, 403: HTML, 429: HTML}, body="key", query=LANG),
    ("POST", "/logout"): Operation("Log out of the page", {303: ""}, body="token", query=LANG),
    ("GET", "/admin/v1/spend"): _admin("The ledger's sums", {200: "Spend"}, query={"by": STR, **SINCE_UNTIL}),
    ("GET", "/admin/v1/ledger"): _admin(
        "Rows of the ledger", {200: "Ledger"},
        query={"after": {"type": "integer", "minimum": 0}, "limit": {"type": "integer", "minimum": 1, "maximum": 10_000}},
    ),
    ("GET", "/admin/v1/budgets"): _admin("Budgets as they stand", {200: "Budgets"}),
    ("GET", "/admin/v1/decisions/{id}"): _admin("Why a request went where it went", {200: "Decision"}, 404),
    ("POST", "/admin/v1/reload"): _admin("Take the configuration as it is on disk", {200: "Reloaded"}, 409),
    ("GET", "/admin/v1/prices"): _admin("What models cost now", {200: "Prices"}),
    ("POST", "/admin/v1/feedback"): _admin("How good answers were", {200: "Given"}, 404, body="Feedback"),
    ("GET", "/admin/v1/keys"): _admin("Keys, without their secrets", {200: "Keys"}),
    ("POST", "/admin/v1/keys"): _admin("A new key", {201: "MadeKey"}, 409, body="NewKey"),
    ("DELETE", "/admin/v1/keys/{id}"): _admin("Revoke a key", {200: "RevokedKey"}, 404),
}  # fmt: skip
SECURITY: Mapping[str, list[dict[str, list[str]]]] = {
    "key": [{"bearer": []}, {"x_api_key": []}],
    "admin": [{"admin": []}],
    "": [],
}


def _content(name: str) -> Schema:
    if not name:
        return {}
    if name in SCHEMAS:
        kinds = {"application/json": {"schema": ref(name)}}
        return {"content": kinds if name != "Answer" else {**kinds, "text/event-stream": {}}}
    return {"content": {name: {"schema": STR}}}


def _responses(told: Operation) -> dict[str, Schema]:
    out = {str(status): {"description": "as told", **_content(name)} for status, name in told.answers.items()}
    for status in told.errors:
        out[str(status)] = {"description": "see docs/http.md, errors", **_content(told.error)}
    return out


def _operation(method: str, path: str, told: Operation) -> Schema:
    names = re.findall(r"\{(\w+)\}", path)
    parameters: list[Schema] = [{"name": name, "in": "path", "required": True, "schema": STR} for name in names]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in told.query.items()
    ]
    out: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": told.summary,
        "security": SECURITY[told.auth],
        "responses": _responses(told),
    }
    if parameters:
        out["parameters"] = parameters
    if told.body in {"key", "token"}:
        fields = {"token": STR} | ({"key": {"type": "string", "format": "password"}} if told.body == "key" else {})
        form = obj(fields)
        out["requestBody"] = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    elif told.body:
        out["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref(told.body)}}}
    return out


@cache
def document() -> Schema:
    """The whole document."""
    paths: dict[str, dict[str, Schema]] = {}
    for (method, path), told in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, told)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Farebox",
            "version": __version__,
            "summary": "A token-cost routing proxy for multi-vendor LLM APIs",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "bearer": {**bearer, "description": "one of Farebox's keys"},
                "x_api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "admin": {**bearer, "description": "server.admin_key"},
            },
        },
    }


async def serve(_: web.Request) -> web.Response:
    headers = {"Content-Type": "application/json", "Server": "farebox", "Cache-Control": "public, max-age=300"}
    return web.Response(body=jsonio.dumps(document()), headers=headers)


def routes() -> list[web.RouteDef]:
    return [web.get("/openapi.json", serve)]
