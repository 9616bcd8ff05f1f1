"""What a request asks of Farebox itself: `x-farebox-…` headers, or a `farebox` object in the body. Headers win."""

from collections.abc import Mapping
from typing import Any

from router.core.catalog import Tier, Wishes
from router.core.errors import InvalidRequest
from router.core.money import amount_nano

NONE = Wishes()
KNOWN = ("quality", "max_cost", "tier", "vendors", "tags", "dry_run")
HEADERS = tuple((name, "x-farebox-" + name.replace("_", "-")) for name in KNOWN)
MAX_TAGS = 16
MAX_TAG_LENGTH = 128


def read_wishes(headers: Mapping[str, str], told: Any) -> Wishes:
    """The wishes of one request.

    Raises:
        InvalidRequest: an unknown wish, or one that cannot be read; `param` names it.

    """
    if told is None:
        wishes: dict[str, Any] = {}
    elif isinstance(told, dict):
        wishes = {str(name): value for name, value in told.items()}
    else:
        raise InvalidRequest("`farebox` must be an object", param="farebox")
    for name, header in HEADERS:
        if (value := headers.get(header)) is not None:
            wishes[name] = _text(value, name)
    if not wishes:
        return NONE
    if unknown := wishes.keys() - set(KNOWN):
        raise InvalidRequest(
            f"unknown wish {', '.join(sorted(unknown))}; known are {', '.join(KNOWN)}", param="farebox"
        )
    return Wishes(
        quality=_quality(wishes.get("quality")),
        max_cost=_cost(wishes.get("max_cost")),
        tier=_tier(wishes.get("tier")),
        vendors=frozenset(_words(wishes.get("vendors"), "vendors")),
        tags=_tags(wishes.get("tags")),
        dry_run=_truth(wishes.get("dry_run")),
    )


def _text(value: str, name: str) -> str:
    """A header's value; bytes that are no UTF-8 arrive as lone surrogates, which nothing further on can write."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"the header x-farebox-{name.replace('_', '-')} is not UTF-8", param=name) from None
    return value


def _quality(value: Any) -> float | None:
    if value is None:
        return None
    try:
        quality = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError):
        quality = -1.0
    if not 0 <= quality <= 1:
        raise InvalidRequest("`quality` must be a number from 0 to 1", param="quality")
    return quality


def _cost(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return amount_nano(value)
    except ValueError as error:
        raise InvalidRequest(f"`max_cost` must be an amount: {error}", param="max_cost") from None


def _tier(value: Any) -> Tier | None:
    if value is None:
        return None
    try:
        return Tier(value)
    except ValueError:
        raise InvalidRequest(f"`tier` must be one of {', '.join(Tier)}", param="tier") from None


def _words(value: Any, name: str) -> list[str]:
    if value is None:
        return []
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidRequest(f"`{name}` must be names separated by commas", param=name)
    return [word.strip() for word in words if word.strip()]


def _tags(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, dict):
        tags = {str(k): str(v) for k, v in value.items()}
    else:
        pairs = [word.partition("=") for word in _words(value, "tags")]
        if any(not sign for _, sign, _ in pairs):
            raise InvalidRequest("`tags` must be k=v,k=v", param="tags")
        tags = {k.strip(): v.strip() for k, _, v in pairs}
    if len(tags) > MAX_TAGS or any(len(text) > MAX_TAG_LENGTH for pair in tags.items() for text in pair):
        raise InvalidRequest(f"at most {MAX_TAGS} tags of {MAX_TAG_LENGTH} characters", param="tags")
    return tags


def _truth(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.lower() in {"1", "true", "yes", "0", "false", "no"}:
        return value.lower() in {"1", "true", "yes"}
    raise InvalidRequest("`dry_run` must be true or false", param="dry_run")
