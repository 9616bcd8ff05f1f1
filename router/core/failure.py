"""How an attempt failed, in one vocabulary for every vendor, and what that means for the next attempt."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """The kinds of failure; a dialect classifies by status and code, never by prose where a code exists."""

    BAD_REQUEST = "bad_request"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTERED = "content_filtered"
    AUTH = "auth"  # our credential, not the caller's
    PERMISSION = "permission"
    QUOTA_EXHAUSTED = "quota_exhausted"  # the vendor account has no money left: retrying does not help
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    OVERLOADED = "overloaded"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECT = "connect"  # nothing was sent
    RESET = "reset"  # the connection ended while an answer was due
    GARBAGE = "garbage"  # an answer that cannot be read


CALLERS_FAULT = frozenset({Fault.BAD_REQUEST, Fault.CONTEXT_TOO_LONG, Fault.CONTENT_FILTERED})
# The vendor said no before it worked, or was never reached: there is nothing to pay.
UNBILLED = frozenset(Fault) - {Fault.TIMEOUT, Fault.RESET, Fault.GARBAGE}


NOT_BEGUN = "the stream ended before it began"


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt's failure. `message` is the vendor's own and may be shown to the caller."""

    fault: Fault
    message: str
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None
    models_own: bool = False
    """Whether it is only that this model cannot do what was asked, and another may."""
    param: str | None = None  # the field of the request that the vendor names

    def told(self, hide: Callable[[str], str]) -> "Failure":
        """The same with its words as `hide` makes them: some vendors repeat the credential that they do not accept."""
        return replace(
            self,
            message=hide(self.message),
            code=self.code and hide(self.code),
            param=self.param and hide(self.param),
        )

    @property
    def callers(self) -> bool:
        """Whether another vendor would refuse it too, so that there is no point in asking."""
        return self.fault in CALLERS_FAULT and not self.models_own

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{status}{self.fault}: {self.message}"


class AttemptFailed(Exception):
    """Carries a failure from the upstream to the relay."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure
