"""How a credential becomes the token that calls are made with, on wires where it has to. Pure: `router.grants` asks."""

from collections.abc import Callable
from dataclasses import dataclass

from router.dialects.sent import Sent


@dataclass(frozen=True, slots=True)
class Grant:
    """One wire's exchange."""

    ask: Callable[[str, str], Sent | None]
    """(base URL, credential) → the call that exchanges it; None if the credential is itself a token."""
    read: Callable[[int, bytes], tuple[str, float]]
    """(status, body) of the answer → (token, seconds that it holds). Raises `AttemptFailed`: it says no."""
    stale: frozenset[str]
    """Error codes of calls which say that their token holds no longer."""
