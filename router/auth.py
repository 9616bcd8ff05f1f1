"""Who is calling: a key, found by its hash."""

from collections.abc import Mapping

from router.core.catalog import Caller
from router.core.errors import BadKey
from router.settings import hash_key


def presented(headers: Mapping[str, str]) -> str:
    """The key of a request, from `Authorization: Bearer` or `x-api-key`; "" if there is none."""
    kind, _, value = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key", "").strip()


def identify(headers: Mapping[str, str], callers: Mapping[str, Caller], now: int) -> Caller:
    """The caller that a request's key belongs to.

    Raises:
        BadKey: no key, an unknown one, or one that has expired.

    """
    key = presented(headers)
    if not key:
        raise BadKey("no API key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")
    caller = callers.get(hash_key(key))
    if caller is None:
        raise BadKey("this API key is not known")
    if caller.expires is not None and now >= caller.expires:
        raise BadKey(f"this API key ({caller.key}) has expired")
    return caller
