"""Tencent Cloud's signature of a call, TC3-HMAC-SHA256 (cloud.tencent.com/document/api/213/30654, 2026-11).

What is signed is the method, the host, the type and a digest of the body. The path is always `/` and never signed as it
is sent.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import urlsplit

from router.core.failure import AttemptFailed, Failure, Fault
from router.dialects.sent import Sent

ALGORITHM = "TC3-HMAC-SHA256"
CREDENTIAL = "SecretId:SecretKey"
SIGNED = "content-type;host"  # the two that have to be


def sign(sent: Sent, key: str, now: int) -> Sent:
    """The call with its time and its signature. Raises `AttemptFailed`: the credential has another form."""
    secret_id, _, secret_key = key.partition(":")
    if not (secret_id and secret_key):
        raise AttemptFailed(Failure(Fault.AUTH, f"the vendor's credential has to be {CREDENTIAL}"))
    host = urlsplit(sent.url).netloc.rpartition("@")[2].lower()
    kind = sent.headers["Content-Type"]
    scope, signature = signed(secret_key, host, kind, sent.body, now)
    told = f"{ALGORITHM} Credential={secret_id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}"
    return Sent(sent.url, {**sent.headers, "X-TC-Timestamp": str(now), "Authorization": told}, sent.body)


def signed(secret_key: str, host: str, kind: str, body: bytes, now: int) -> tuple[str, str]:
    """(the scope, the signature) of a POST to a host: the service is the first part of its name."""
    date, service = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d"), host.partition(".")[0]
    scope = f"{date}/{service}/tc3_request"
    request = f"POST\n/\n\ncontent-type:{kind.lower()}\nhost:{host}\n\n{SIGNED}\n{hashlib.sha256(body).hexdigest()}"
    told = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    made = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        made = _hmac(made, part)
    return scope, _hmac(made, told).hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
