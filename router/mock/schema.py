"""A value that fits a JSON schema, for tool arguments and structured answers. Pure.

Covers what OpenAI's strict mode allows and the common rest: $ref, $defs, allOf, anyOf, oneOf, enum, const, formats, bounds, patterns.
"""

import random
from typing import Any

from router.mock import pattern

_DEPTH = 6  # below it only what is required: a schema may contain itself
_FORMATS = {
    "date-time": "2026-03-14T09:26:53Z",
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "duration": "P3DT4H",
    "email": "ada@example.com",
    "hostname": "api.example.com",
    "ipv4": "192.0.2.17",
    "ipv6": "2001:db8::17",
    "uuid": "6f1c2b5e-8d0a-4c7e-9b3f-2a5d7e9c1b40",
    "uri": "https://example.com/item/17",
}
_BY_NAME = {
    "city": ("Zürich", "Lisbon", "上海", "Toronto"),
    "location": ("Paris, France", "Hangzhou, China", "Boston, MA"),
    "country": ("France", "Japan", "Kenya"),
    "name": ("Ada Lovelace", "Grace Hopper", "林晓"),
    "title": ("Quarterly report", "A short history of queues"),
    "query": ("latest exchange rates", "open invoices of March"),
    "email": ("ada@example.com", "grace@example.com"),
    "currency": ("USD", "CNY", "EUR"),
    "language": ("en", "zh", "fr"),
    "date": ("2026-03-14", "2026-11-02"),
    "url": ("https://example.com/item/17",),
    "path": ("src/main.py", "README.md"),
}
_WORDS = ("amber", "bridge", "cedar", "delta", "ember", "falcon", "granite", "harbor", "indigo", "juniper")


def fit(schema: Any, rng: random.Random) -> Any:
    """A value that validates against the schema, different for different random states."""
    return _Fitter(schema, rng).value(schema, "", 0)


class _Fitter:
    def __init__(self, root: Any, rng: random.Random) -> None:
        self._root, self._rng = root, rng

    def value(self, schema: Any, name: str, depth: int) -> Any:
        if not isinstance(schema, dict):
            return self._rng.choice(_WORDS)  # `true` and `{}` allow anything
        schema = self._plain(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(schema["enum"])
        match _kind(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _plain(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """The schema with references, alternatives and conjunctions resolved into one."""
        for _ in range(32):
            if "$ref" in schema:
                rest = {k: v for k, v in schema.items() if k != "$ref"}
                schema = _merge(self._resolve(schema["$ref"]), rest)
            elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
                rest = {k: v for k, v in schema.items() if k not in {"anyOf", "oneOf"}}
                schema = _merge(rest, self._choose(alternatives, depth))
            elif "allOf" in schema:
                rest = {k: v for k, v in schema.items() if k != "allOf"}
                for part in schema["allOf"]:
                    rest = _merge(rest, self._plain(part, depth) if isinstance(part, dict) else {})
                schema = rest
            else:
                break
        return schema

    def _choose(self, alternatives: list[Any], depth: int) -> dict[str, Any]:
        """Deep inside, the alternative that ends: null before scalars before structures."""
        ranked = [a for a in alternatives if isinstance(a, dict)]
        if not ranked:
            return {}
        if depth < _DEPTH // 2:
            return next((a for a in ranked if a.get("type") != "null"), ranked[0])
        order = {"null": 0, "object": 3, "array": 2, None: 3}
        return min(ranked, key=lambda a: order.get(a.get("type") if isinstance(a.get("type"), str) else None, 1))

    def _resolve(self, pointer: str) -> dict[str, Any]:
        at = self._root
        for step in pointer.removeprefix("#").strip("/").split("/"):
            if step:
                key = step.replace("~1", "/").replace("~0", "~")
                at = at[int(key)] if isinstance(at, list) else at.get(key, {})
        return at if isinstance(at, dict) else {}

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        names = [n for n in properties if depth < _DEPTH or n in required]
        names += [n for n in required if n not in properties]
        made = {n: self.value(properties.get(n, {}), n, depth + 1) for n in names}
        more = schema.get("additionalProperties", True)
        while len(made) < schema.get("minProperties", 0) and more is not False:
            made[f"extra_{len(made)}"] = self.value(more, "", depth + 1)
        return made

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", 1_000_000)
        first = schema.get("prefixItems") or []
        wanted = least if depth >= _DEPTH else max(least, len(first), min(self._rng.randint(1, 3), most))
        if schema.get("items") is False:
            wanted = min(wanted, len(first))
        kinds = [*first, *[schema.get("items", {})] * wanted][:wanted]
        made: list[Any] = []
        for kind in kinds:
            item = self.value(kind, name.removesuffix("s"), depth + 1)
            for _ in range(50 if schema.get("uniqueItems") else 0):
                if item not in made:
                    break
                item = self.value(kind, "", depth + 1)
            if not (schema.get("uniqueItems") and item in made):
                made.append(item)
        return made

    def _integer(self, schema: dict[str, Any]) -> int:
        step = max(1, int(schema.get("multipleOf", 1)))
        least, most = _bounds(schema, 1)
        return self._rng.randint(-(-int(-(-least // 1)) // step), int(most // 1) // step) * step

    def _number(self, schema: dict[str, Any]) -> float:
        least, most = _bounds(schema, 0.01)
        if step := schema.get("multipleOf"):
            return self._rng.randint(int(-(-least // step)), int(most // step)) * step  # type: ignore[no-any-return]
        return min(max(round(self._rng.uniform(least, most), 2), least), most)

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if schema.get("pattern"):
            return pattern.matching(schema["pattern"], self._rng)
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        known = next((v for k, v in _BY_NAME.items() if name.lower().endswith(k)), None)
        text = self._rng.choice(known) if known else " ".join(self._rng.sample(_WORDS, 2))
        while len(text) < schema.get("minLength", 0):
            text += " " + self._rng.choice(_WORDS)
        return text[: schema.get("maxLength", len(text))]


def _kind(schema: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        if depth >= _DEPTH and "null" in kind:
            return "null"
        return next((k for k in kind if k != "null"), "null")
    if kind is None:
        signs = (("object", ("properties", "required")), ("array", ("items", "prefixItems")), ("number", ("minimum",)))
        return next((k for k, keys in signs if any(key in schema for key in keys)), "string")
    return kind


def _merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    joined = {**a, **b}
    if "properties" in a and "properties" in b:
        joined["properties"] = {**a["properties"], **b["properties"]}
    if "required" in a and "required" in b:
        joined["required"] = list(dict.fromkeys([*a["required"], *b["required"]]))
    return joined


def _bounds(schema: dict[str, Any], margin: float) -> tuple[float, float]:
    """Inclusive bounds; an exclusive one is moved by `margin`, or to the middle where that would leave nothing."""
    low, high = schema.get("minimum"), schema.get("maximum")
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(over, int | float) and (low is None or over >= low):
        low = over + margin
    if isinstance(under, int | float) and (high is None or under <= high):
        high = under - margin
    if low is None:
        low = 1 if high is None else min(1, high - 99)
    if high is None:
        high = max(100, low + 99)
    if low > high:
        low = high = (low + high) / 2
    return low, high
