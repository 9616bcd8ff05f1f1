"""Query values of the admin API, each checked, each problem named."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time

from aiohttp import web

from router.core.errors import InvalidRequest
from router.core.limits import micros


def only(request: web.Request, known: Iterable[str]) -> None:
    """A misspelt or repeated parameter is an error, not a filter that silently does nothing."""
    names = list(known)
    for name in request.query:
        if name not in names:
            raise InvalidRequest(f"unknown parameter {name!r}; known are {', '.join(names) or 'none'}", param=name)
        if len(request.query.getall(name)) > 1:
            raise InvalidRequest(f"`{name}` is given more than once", param=name)


def integer(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    value = request.query.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 19 and low <= int(value) <= high):
        raise InvalidRequest(f"`{name}` must be an integer from {low} to {high}", param=name)
    return int(value)


def instant(value: object, name: str) -> int:
    """2026-01-31 (its first instant in UTC) or an RFC 3339 date and time, as microseconds since 1970."""
    told = str(value).replace(" ", "+")  # an unescaped + in a query is a space
    try:
        when = datetime.fromisoformat(told) if "T" in told else datetime.combine(date.fromisoformat(told), time(), UTC)
        return micros((when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        raise InvalidRequest(f"`{name}` must be a date or an RFC 3339 time: 2026-01-31T08:00:00Z", param=name) from None


def span(request: web.Request) -> tuple[int | None, int | None]:
    """`since` and `until`, as a half-open span."""
    since, until = (
        None if (value := request.query.get(name)) is None else instant(value, name) for name in ("since", "until")
    )
    if since is not None and until is not None and since >= until:
        raise InvalidRequest("`until` must be after `since`", param="until")
    return since, until


def names(request: web.Request, name: str, known: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Names separated by commas."""
    found = tuple(word.strip() for word in request.query.get(name, default).split(",") if word.strip())
    if not found or not set(found) <= set(known) or len(set(found)) < len(found):
        raise InvalidRequest(f"`{name}` must be one or more of {', '.join(known)}", param=name)
    return found
