"""Refusals in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. Pure."""

from typing import Any

from router.mock.errors import Refused

# status → (type, code, param, message); `{model}`, `{input}` and `{key}` are filled in.
_BY_STATUS: dict[int, tuple[str, str | None, str | None, str]] = {
    400: ("invalid_request_error", None, None, "Invalid request: the mock was asked to refuse it."),
    401: (
        "invalid_request_error",
        "invalid_api_key",
        None,
        "Incorrect API key provided: {key}. You can find your API key in the vendor's console.",
    ),
    # DeepSeek's, odd code and all: the best known vendor with this status.
    402: ("unknown_error", "invalid_request_error", None, "Insufficient Balance"),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        None,
        "Country, region, or territory not supported",
    ),
    404: (
        "invalid_request_error",
        "model_not_found",
        None,
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    413: ("invalid_request_error", "request_too_large", None, "The request is too large."),
    429: (
        "requests",
        "rate_limit_exceeded",
        None,
        "Rate limit reached for {model} on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 1s.",
    ),
    500: (
        "server_error",
        None,
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    503: ("service_unavailable_error", None, None, "The engine is currently overloaded, please try again later."),
}
_BY_CODE: dict[str, tuple[str, str | None, str]] = {
    "context_length_exceeded": (
        "invalid_request_error",
        "messages",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in {input} tokens.",
    ),
    "content_policy_violation": ("invalid_request_error", None, "Your request was rejected by the safety system."),
    "content_filter": ("invalid_request_error", None, "The response was filtered due to the prompt."),
    "unsupported_parameter": (
        "invalid_request_error",
        "max_tokens",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    "insufficient_quota": (
        "insufficient_quota",
        None,
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "rate_limit_exceeded": ("tokens", None, "Rate limit reached on tokens per min (TPM). Please try again in 1s."),
}


def body(refused: Refused) -> dict[str, Any]:
    """The error body of a status, or of a status with this code."""
    if refused.message:
        kind, usual, param, message = "invalid_request_error", refused.code or None, refused.param, refused.message
    else:
        known = _BY_STATUS.get(refused.status) or _BY_STATUS[500 if refused.status >= 500 else 400]
        kind, usual, param, message = known
        if refused.code and refused.code != usual:
            usual = refused.code
            kind, param, message = _BY_CODE.get(refused.code, (kind, param, message))
        # A context error about few tokens would contradict itself.
        message = message.replace("{input}", str(max(refused.prompt, 128_001)))
        message = message.replace("{model}", refused.model).replace("{key}", refused.key)
    return {"error": {"message": message, "type": kind, "param": param, "code": usual}}


def told(refused: Refused) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers. A rate limit passes, and says when; a used-up quota does not."""
    passes = refused.status == 429 and refused.kind != "quota"
    limits = {"Retry-After": "1", "x-ratelimit-remaining-requests": "0"} if passes else {}
    return refused.status, body(refused), limits


def authorise(headers: Any) -> None:
    """Any bearer key is good but `bad-key`, and so is Azure's `api-key`; `headers` are by lower-case name."""
    if headers.get("api-key", "bad-key") != "bad-key":
        return
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refused(
            401, message="You didn't provide an API key. Put it in the header: Authorization: Bearer YOUR_KEY."
        )
    if key.strip() == "bad-key":
        raise Refused(401, key="bad-key")
