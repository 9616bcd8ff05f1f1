"""What the Gemini wire says a request consumed, and how it says no (ai.google.dev/api/generate-content and
ai.google.dev/gemini-api/docs/troubleshooting, 2026-11).

The prompt includes what was served from a cache, the answer is without what was thought, and a count of 0 is left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import Minus, Usage, count, minus
from router.dialects.faults import LONGEST_WAIT_S, classify, read_error, wait

# Reasons of an ErrorInfo (google/api/error_reason.proto) and statuses (google/rpc/code.proto). RESOURCE_EXHAUSTED is told by
# its quota. The troubleshooting page has FAILED_PRECONDITION for projects that may not use the API where they are.
FAULTS: Mapping[str, Fault] = {
    "API_KEY_INVALID": Fault.AUTH,
    "API_KEY_EXPIRED": Fault.AUTH,
    "API_KEY_SERVICE_BLOCKED": Fault.AUTH,
    "API_KEY_IP_ADDRESS_BLOCKED": Fault.AUTH,
    "API_KEY_HTTP_REFERRER_BLOCKED": Fault.AUTH,
    "ACCESS_TOKEN_EXPIRED": Fault.AUTH,
    "CREDENTIALS_MISSING": Fault.AUTH,
    "BILLING_DISABLED": Fault.QUOTA_EXHAUSTED,
    "SERVICE_DISABLED": Fault.PERMISSION,
    "CONSUMER_SUSPENDED": Fault.PERMISSION,
    "INVALID_ARGUMENT": Fault.BAD_REQUEST,
    "OUT_OF_RANGE": Fault.BAD_REQUEST,
    "FAILED_PRECONDITION": Fault.PERMISSION,
    "PERMISSION_DENIED": Fault.PERMISSION,
    "UNAUTHENTICATED": Fault.AUTH,
    "NOT_FOUND": Fault.NOT_FOUND,
    "UNAVAILABLE": Fault.OVERLOADED,
    "DEADLINE_EXCEEDED": Fault.TIMEOUT,
    "INTERNAL": Fault.SERVER,
}
# Where the status says no more than "invalid" or "exhausted"; the first and the last were seen on recorded traffic.
PHRASES = (
    ("exceeds the maximum number of tokens", Fault.CONTEXT_TOO_LONG),
    ("api key not valid", Fault.AUTH),
    ("api key expired", Fault.AUTH),
    ("prepayment credits are depleted", Fault.QUOTA_EXHAUSTED),
)


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks) -> Failure:
    """Whose fault an error reply is; the vendor's message is kept."""
    return read_error(status, raw, headers, lambda told: failure_of(told, status, headers, quirks))


def failure_of(told: Mapping[str, Any], status: int, headers: Mapping[str, str], quirks: Quirks) -> Failure | None:
    """The failure that a body or an event tells of; None if it tells of none. An event has its status in itself."""
    said = told.get("error")
    if not isinstance(said, dict):
        return None
    details = said.get("details")
    details = [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []
    reason = next((item["reason"] for item in details if isinstance(item.get("reason"), str)), None)
    kind, message = said.get("status"), said.get("message")
    number = status if status >= 400 else count(said.get("code")) or status
    fault = classify(reason, kind, message, number, quirks, FAULTS, PHRASES)
    if fault is Fault.RATE_LIMITED and any(_lasts(quota) for quota in _quotas(details)):
        fault = Fault.QUOTA_EXHAUSTED
    code = reason or (kind if isinstance(kind, str) else None)
    return Failure(fault, str(message or "no message"), status, code, _delay(details) or wait(headers))


def _quotas(details: list[dict[str, Any]]) -> Iterator[str]:
    for item in details:
        violations = item.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                yield str(violation.get("quotaId") or "")


def _lasts(quota: str) -> bool:
    """Whether a quota is not filled again within minutes: one of a day, or what a project may have for nothing at all."""
    return "PerDay" in quota or ("FreeTier" in quota and "PerMinute" not in quota)


def _delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds until the vendor wants to be asked again: no header has it, but a detail, as "34.4s"."""
    for item in details:
        told = item.get("retryDelay")
        if isinstance(told, str) and told.endswith("s") and told[:-1].replace(".", "", 1).isdecimal():
            return min(float(told[:-1]), LONGEST_WAIT_S)
    return None


def usage_of(told: Any, less: Minus = minus) -> Usage | None:
    """A usageMetadata as disjoint leaves; None if it holds no counts.

    What Google's own tools put before the model is billed as input. Sound and pictures are counted apart, each without
    what of it came from the cache. Where thinking is not told, what only the total has is thinking (recorded 2026-11).

    Raises:
        ContradictoryUsage: more was cached than was prompted.

    """
    if not isinstance(told, dict):
        return None
    prompt, answer = count(told.get("promptTokenCount")), count(told.get("candidatesTokenCount")) or 0
    if prompt is None:
        return None
    given = prompt + (count(told.get("toolUsePromptTokenCount")) or 0)
    cached, thought = count(told.get("cachedContentTokenCount")), count(told.get("thoughtsTokenCount"))
    total = count(told.get("totalTokenCount"))
    if thought is None and total is not None and total > given + answer:
        thought = total - given - answer
    fresh = less(given, cached, "promptTokenCount", "cachedContentTokenCount")
    inputs = {kind: _fresh(told, kind) for kind in ("AUDIO", "IMAGE")}
    sound = min(inputs["AUDIO"], fresh)
    pictures = min(inputs["IMAGE"], fresh - sound)
    spoken = min(_tokens(told, "candidatesTokensDetails", "AUDIO"), answer)
    drawn = min(_tokens(told, "candidatesTokensDetails", "IMAGE"), answer - spoken)
    return Usage(
        input_fresh=fresh - sound - pictures,
        cache_read=cached,
        output_text=answer - spoken - drawn,
        output_reasoning=thought,
        input_audio=sound or None,
        input_image=pictures or None,
        output_audio=spoken or None,
        output_image=drawn or None,
    )


def _fresh(told: Mapping[str, Any], kind: str) -> int:
    """The tokens of one kind that the prompt has and the cache has not."""
    given = _tokens(told, "promptTokensDetails", kind) + _tokens(told, "toolUsePromptTokensDetails", kind)
    return max(0, given - _tokens(told, "cacheTokensDetails", kind))


def _tokens(told: Mapping[str, Any], name: str, kind: str) -> int:
    details = told.get(name)
    items = [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []
    return sum(count(item.get("tokenCount")) or 0 for item in items if item.get("modality") == kind)


def service_tier(told: Any) -> str | None:
    """The tier that the vendor says it served, which may have its own price."""
    tier = told.get("serviceTier") if isinstance(told, dict) else None
    return tier.lower() if isinstance(tier, str) else None
