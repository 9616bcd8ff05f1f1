"""The exchange of Baidu's `AK:SK` for an access token of 30 days (cloud.baidu.com/doc/WENXINWORKSHOP/s/Ilkkrb0i5, 2026-11)."""

from urllib.parse import urlencode

from router.core import jsonio
from router.core.failure import AttemptFailed, Failure, Fault
from router.core.usage import count
from router.dialects.faults import by_status
from router.dialects.grant import Grant
from router.dialects.sent import Sent

PATH = "/oauth/2.0/token"
STALE = frozenset({"110", "111"})  # "invalid or no longer valid", "expired"
REFUSED = frozenset({"invalid_client", "unauthorized_client", "invalid_grant", "invalid_scope"})  # of OAuth


def ask(base_url: str, key: str) -> Sent | None:
    """The call that exchanges a credential; None for a token that was made elsewhere."""
    access, colon, secret = key.partition(":")
    if not colon:
        return None
    told = urlencode({"grant_type": "client_credentials", "client_id": access, "client_secret": secret})
    return Sent(f"{base_url}{PATH}?{told}", {"Content-Type": "application/json"}, b"")


def read(status: int, raw: bytes) -> tuple[str, float]:
    """(token, seconds that it holds). Raises `AttemptFailed`."""
    try:
        told = jsonio.loads_reply(raw)
    except jsonio.NotJson:
        told = None
    told = told if isinstance(told, dict) else {}
    token, holds = told.get("access_token"), count(told.get("expires_in"))
    if status < 400 and isinstance(token, str) and token and holds:
        return token, float(holds)
    code = told.get("error")
    fault = by_status(status) if status >= 400 and code not in REFUSED else Fault.AUTH
    fault = Fault.AUTH if fault is Fault.BAD_REQUEST else fault
    said = str(told.get("error_description") or code or "no token in the answer")
    raise AttemptFailed(Failure(fault, f"no access token: {said}", status, code if isinstance(code, str) else None))


GRANT = Grant(ask, read, STALE)
