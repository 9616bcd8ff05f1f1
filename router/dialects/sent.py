"""A call as a dialect writes it, and what a vendor wants besides a key in it: tokens that it gives out for the key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)  # its address and headers hold credentials, which no log may show
class Sent:
    """One request to a vendor: the rim adds time-outs and the vendor's configured headers. A `ws` address is a WebSocket."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    last: Callable[[bytes], bool] | None = None
    """Of a WebSocket: whether nothing follows this frame, so that it may be closed, which some vendors wait for."""


@dataclass(frozen=True, slots=True)
class Grant:
    """How a vendor gives a token for a credential, to be sent in its place until it has run out."""

    ask: Callable[[str, str], Sent | None]
    """(base URL, credential) → the call for a token; None if the credential is itself a token."""
    read: Callable[[int, bytes], tuple[str, float]]
    """(status, body) → (the token, for how many seconds it holds). Raises `AttemptFailed`."""
    stale: frozenset[str]
    """Codes of the vendor's errors that say that a token does not hold any more; nothing was done or billed then."""


def credential(header: str, key: str) -> Mapping[str, str]:
    """A credential where a vendor wants it: as `Bearer KEY` in `Authorization`, bare in any other header; none for none."""
    if not key:
        return {}
    return {header: f"Bearer {key}" if header == "Authorization" else key}


def under(base_url: str, version: str, path: str) -> str:
    """The address of `path` at a vendor whose base URL was given with or without the API's version."""
    tail = base_url.rsplit("/", 1)[-1]
    versioned = tail[:1] == "v" and tail[1:2].isdigit()
    return f"{base_url}{'' if versioned else version}{path}"
