"""Everything that can end a request, and whose fault it is.

RouterError                      has a status, a code of the contract and a message that is safe to show
├── InvalidRequest 400           the caller's: not JSON, wrong types, a field that cannot be honoured
├── ContextTooLong 400           no candidate's window holds the prompt
├── ContentFiltered 400          a vendor's moderation refused
├── BadKey 401, NotAllowed 403, NoSuchModel 404, NoSuchPath 404, TooLarge 413
├── OverBudget 402               no candidate fits what is left (not 429: SDKs retry 429)
├── RateLimited 429              ours, or every candidate's
└── UpstreamFailed 502, Overloaded 503, UpstreamTimeout 504      after every allowed attempt

Only a RouterError's message reaches a client. Whatever else is raised is a bug: logged, and shown as an opaque 500.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class RouterError(Exception):
    """A request ends here, before its first byte; the server shows it in the caller's dialect."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    kind: ClassVar[str] = "server_error"  # OpenAI's `type`

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.details = dict(details or {})


class InvalidRequest(RouterError):
    status, code, kind = 400, "invalid_request", "invalid_request_error"


class ContextTooLong(InvalidRequest):
    code = "context_length_exceeded"


class ContentFiltered(InvalidRequest):
    code = "content_filter"


class BadKey(RouterError):
    status, code, kind = 401, "invalid_api_key", "authentication_error"


class OverBudget(RouterError):
    status, code, kind = 402, "budget_exceeded", "insufficient_funds"


class NotAllowed(RouterError):
    status, code, kind = 403, "not_allowed", "permission_error"


class NoSuchModel(RouterError):
    status, code, kind = 404, "model_not_found", "invalid_request_error"


class NoSuchPath(RouterError):
    status, code, kind = 404, "not_found", "invalid_request_error"


class SlowClient(RouterError):
    status, code, kind = 408, "request_timeout", "invalid_request_error"


class TooLarge(RouterError):
    status, code, kind = 413, "request_too_large", "invalid_request_error"


class RateLimited(RouterError):
    status, code, kind = 429, "rate_limited", "rate_limit_error"


class UpstreamFailed(RouterError):
    status, code, kind = 502, "upstream_error", "upstream_error"


class Overloaded(RouterError):
    status, code, kind = 503, "overloaded", "overloaded_error"


class UpstreamTimeout(RouterError):
    status, code, kind = 504, "upstream_timeout", "upstream_error"
