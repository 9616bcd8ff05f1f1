"""Whether a value fits a JSON schema: the part of it that vendors' structured outputs and tools allow.

Read are `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `minItems`,
`maxItems`, `minLength`, `maxLength`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `anyOf`, `oneOf`,
`allOf` and `$ref` within the schema. A keyword that is not read lets everything pass: what is looked for is an answer that
is surely wrong. `pattern` is one of them on purpose: it would let a client's schema take as long as it likes. For the same
reason what is looked at is bounded: a schema that refers to itself twice has twice as many places at each level.
"""

from collections.abc import Mapping, Sequence
from typing import Any

DEEPEST = 64  # schemas may refer to themselves
MOST_STEPS = 6_000  # places of a value beside places of a schema: some 20 ms; what is beyond is let pass

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int,),
}  # fmt: skip


class _Endless(Exception):
    """More work than a schema is worth."""


class _Root:
    """The whole schema, and how much more is looked at."""

    __slots__ = ("schema", "steps")

    def __init__(self, schema: Any) -> None:
        self.schema, self.steps = schema, MOST_STEPS


def misfit(value: Any, schema: Any) -> str:
    """Where and how a value does not fit; "" if it does, or if nobody can say."""
    try:
        return _misfit(value, schema, _Root(schema), "", 0)
    except _Endless:
        return ""


def _misfit(value: Any, schema: Any, root: _Root, place: str, depth: int) -> str:
    root.steps -= 1
    if root.steps < 0:
        raise _Endless
    if schema is False:
        return f"{place or 'the value'} is not allowed"
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return ""
    if isinstance(told := schema.get("$ref"), str):
        return _misfit(value, _referred(root.schema, told), root, place, depth + 1)
    return (
        _type(value, schema, place)
        or _bounds(value, schema, place)
        or _members(value, schema, root, place, depth)
        or _items(value, schema, root, place, depth)
        or _combined(value, schema, root, place, depth)
    )


def _referred(root: Any, told: str) -> Any:
    if not told.startswith("#"):
        return True
    found = root
    for name in told[1:].split("/")[1:]:
        if not isinstance(found, Mapping):
            return True
        found = found.get(name.replace("~1", "/").replace("~0", "~"), True)
    return found


def _type(value: Any, schema: Mapping[str, Any], place: str) -> str:
    told = schema.get("type")
    names = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    if names and not any(_is(value, name) for name in names):
        return f"{place or 'the value'} is no {' or '.join(map(str, names))}"
    if isinstance(allowed := schema.get("enum"), list) and value not in allowed:
        return f"{place or 'the value'} is none of those allowed"
    if "const" in schema and value != schema["const"]:
        return f"{place or 'the value'} is not the one allowed"
    return ""


def _is(value: object, name: object) -> bool:
    kinds = _TYPES.get(name) if isinstance(name, str) else None
    if kinds is None:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, kinds)


_LENGTHS = (("minLength", "maxLength", str), ("minItems", "maxItems", list))


def _bounds(value: Any, schema: Mapping[str, Any], place: str) -> str:
    for low, high, kind in _LENGTHS:
        if isinstance(value, kind) and not _number(schema, low, 0) <= len(value) <= _number(schema, high, 2**62):
            return f"{place or 'the value'} is too short or too long"
    if isinstance(value, int | float) and not isinstance(value, bool):
        least, most = _number(schema, "minimum", float("-inf")), _number(schema, "maximum", float("inf"))
        above = _number(schema, "exclusiveMinimum", float("-inf"))
        below = _number(schema, "exclusiveMaximum", float("inf"))
        if not (least <= value <= most) or (value <= above < float("inf") and above != float("-inf")) or value >= below:
            return f"{place or 'the value'} is too small or too large"
    return ""


def _number(schema: Mapping[str, Any], name: str, default: float) -> float:
    told = schema.get(name)
    return told if isinstance(told, int | float) and not isinstance(told, bool) else default


def _members(value: Any, schema: Mapping[str, Any], root: _Root, place: str, depth: int) -> str:
    if not isinstance(value, dict):
        return ""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in value:
            return f"{_at(place, name)} is missing"
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        if name in properties:
            found = _misfit(member, properties[name], root, _at(place, name), depth + 1)
        elif "patternProperties" in schema:
            continue
        else:
            found = _misfit(member, others, root, _at(place, name), depth + 1)
        if found:
            return found
    return ""


def _items(value: Any, schema: Mapping[str, Any], root: _Root, place: str, depth: int) -> str:
    if not isinstance(value, list):
        return ""
    first = schema.get("prefixItems")
    first = first if isinstance(first, Sequence) and not isinstance(first, str) else ()
    for i, item in enumerate(value):
        wanted = first[i] if i < len(first) else schema.get("items", True)
        if found := _misfit(item, wanted, root, f"{place}[{i}]", depth + 1):
            return found
    return ""


def _combined(value: Any, schema: Mapping[str, Any], root: _Root, place: str, depth: int) -> str:
    for part in _list(schema, "allOf"):
        if found := _misfit(value, part, root, place, depth + 1):
            return found
    if (any_of := _list(schema, "anyOf")) and all(_misfit(value, part, root, place, depth + 1) for part in any_of):
        return f"{place or 'the value'} fits none of those allowed"
    if one_of := _list(schema, "oneOf"):
        fits = sum(not _misfit(value, part, root, place, depth + 1) for part in one_of)
        if not fits:
            return f"{place or 'the value'} fits none of those allowed"
    return ""


def _list(schema: Mapping[str, Any], name: str) -> Sequence[Any]:
    told = schema.get(name)
    return told if isinstance(told, list) else ()


def _at(place: str, name: Any) -> str:
    return f"{place}.{name}" if place else str(name)
