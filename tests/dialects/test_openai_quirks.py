"""Rules of reading that no single golden file shows."""

import pytest

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Fault
from router.core.usage import ContradictoryUsage, Usage
from router.dialects.openai_errors import error
from router.dialects.openai_plain import Plain
from router.dialects.openai_stream import Tap
from router.dialects.openai_usage import usage_of
from router.vendors import MODULES, find


def event(told):
    return b"data: " + jsonio.dumps(told) + b"\n\n"


def delta(text, reason=None, **more):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}], **more})


def counts(prompt, completion, **more):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def through(tap, *pieces):
    return b"".join(tap.feed(piece) for piece in pieces) + tap.finish()


def tap_of(name, *, hide=True):
    quirks = find(name).quirks if name else Quirks()
    return Tap(hide_usage=hide, bill=lambda _: b'"cost":1', quirks=quirks)


DONE = b"data: [DONE]\n\n"


# Usage


def test_counts_are_read_as_text_and_as_decimals_too():
    told = {"prompt_tokens": "12", "completion_tokens": 3.0, "prompt_tokens_details": {"cached_tokens": "2"}}
    assert usage_of(told) == Usage(10, 2, None, None, 3, None)


def test_reasoning_that_only_the_total_shows_is_output_where_the_vendor_is_known_for_it():
    told = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 34}
    assert usage_of(told, find("google").also[0].quirks).output_total == 24
    with pytest.raises(ContradictoryUsage, match="total_tokens"):
        usage_of(told)


def test_reasoning_is_added_only_where_the_total_says_that_it_stands_apart():
    details = {"completion_tokens_details": {"reasoning_tokens": 3}}
    inside = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, **details}
    assert (usage_of(inside).output_text, usage_of(inside).output_reasoning) == (2, 3)
    apart = {**inside, "total_tokens": 18}
    assert (usage_of(apart).output_text, usage_of(apart).output_reasoning) == (5, 3)


def test_a_null_or_a_placeholder_after_the_usage_does_not_undo_it():
    tap = tap_of(None)
    rest = [event({"choices": [], "usage": None}), event({"choices": [], "usage": {"total_tokens": 0}}), DONE]
    through(tap, delta("a", "stop"), event({"choices": [], "usage": counts(9, 2)}), *rest)
    assert (tap.usage.input_total, tap.usage.output_total, tap.done) == (9, 2, True)


def test_of_usages_that_grow_the_last_counts_and_none_is_added():
    tap = tap_of(None)
    got = through(tap, *(delta("a", usage=counts(9, n)) for n in (1, 2, 3)))
    assert (tap.usage.output_total, tap.done) == (3, False)
    assert got == delta("a") * 3


def test_usage_that_stands_elsewhere_only_is_read_and_shown_at_its_usual_place_to_who_asked():
    for name, more in (("groq", {"x_groq": {"usage": counts(9, 2)}}), ("groq", {"usage": None, "x_groq": {"usage": counts(9, 2)}})):  # fmt: skip
        raw = delta("", "stop", **more)
        hidden, shown = tap_of(name), tap_of(name, hide=False)
        assert through(hidden, raw) == raw
        assert hidden.usage.output_total == shown_usage(through(shown, raw))["completion_tokens"] == 2


def shown_usage(raw):
    usage = jsonio.loads(raw[6:])["usage"]
    assert usage["cost"] == 1
    return usage


def test_a_closing_frame_keeps_the_finish_reason_that_no_chunk_had():
    usage = counts(9, 2)
    message = {"role": "assistant", "content": "ab"}
    closing = event(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    )
    for first, left in ((delta("ab"), [{"index": 0, "delta": {}, "finish_reason": "stop"}]), (delta("ab", "stop"), [])):
        tap = tap_of("minimax", hide=False)
        got = through(tap, first, closing)
        told = jsonio.loads(got.removeprefix(first)[6:])
        assert (told["object"], told["choices"], told["usage"]["cost"]) == ("chat.completion.chunk", left, 1)
        assert tap.usage.output_total == 2 and tap.done


def test_the_charge_that_a_vendor_reports_is_kept_beside_the_usage():
    told = {"choices": [], "usage": counts(9, 2, cost_in_usd_ticks=1_466_251)}
    tap, plain, other = tap_of("xai"), Plain(find("xai").quirks), Plain()
    through(tap, event(told))
    plain.read(jsonio.dumps(told))
    other.read(jsonio.dumps(told))
    assert (tap.vendor_cost_nano, plain.vendor_cost_nano, other.vendor_cost_nano) == (146_626, 146_626, None)


# The stream's own work


def test_a_block_without_usage_or_error_is_handed_on_as_the_object_that_it_is():
    for name in MODULES:
        verdict = {"code": 0, "base_resp": {"status_code": 0}} if find(name).quirks.verdict else {}
        block = delta("code usage", **verdict) + delta('"error"', **verdict)
        assert tap_of(name).feed(block) is block


def test_events_are_counted_in_each_kind_of_line_end():
    for end in (b"\n", b"\r\n", b"\r"):
        tap = tap_of(None)
        through(tap, (delta("a") * 3).replace(b"\n", end))
        assert tap.events == 3


# Failures


@pytest.mark.parametrize(
    ("name", "reason", "fault"),
    [
        ("zhipu", "sensitive", Fault.CONTENT_FILTERED),
        ("zhipu", "network_error", Fault.SERVER),
        ("tencent", "sensitive", Fault.CONTENT_FILTERED),
        ("deepseek", "insufficient_system_resource", Fault.OVERLOADED),
    ],
)
def test_an_answer_that_ends_in_a_failure_with_nothing_in_it_is_that_failure(name, reason, fault):
    tap = tap_of(name)
    through(tap, delta("", reason), DONE)
    assert tap.failure.fault is fault
    reader = Plain(find(name).quirks)
    message = {"role": "assistant", "content": ""}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": counts(9, 0)}
    assert not reader.read(jsonio.dumps(body))
    assert (reader.failure.fault, reader.usage.input_total) == (fault, 9)


def test_a_filter_that_ended_an_answer_which_had_begun_is_the_callers_to_read():
    body = {"choices": [{"message": {"content": "part"}, "finish_reason": "sensitive"}]}
    reader = Plain(find("zhipu").quirks)
    assert reader.read(jsonio.dumps(body)) and reader.told == body and reader.failure is None


@pytest.mark.parametrize(
    ("name", "told", "fault"),
    [
        (None, {"error": {"code": 429, "message": "x"}}, Fault.RATE_LIMITED),
        (None, {"error": {"code": 400, "type": "BadRequestError", "message": "x"}}, Fault.BAD_REQUEST),
        (None, {"error": {"type": "invalid_request_error", "message": "x"}}, Fault.BAD_REQUEST),
        (None, {"error": {"type": "server_error", "message": "x"}}, Fault.SERVER),
        (None, {"error": "text"}, Fault.SERVER),
        (None, {"object": "error", "message": "x", "type": "y", "code": 503}, Fault.OVERLOADED),
        ("alibaba", {"error": {"code": "insufficient_quota", "message": "x"}}, Fault.RATE_LIMITED),
        (None, {"error": {"code": "insufficient_quota", "message": "x"}}, Fault.QUOTA_EXHAUSTED),
    ],
)
def test_an_error_inside_a_stream_is_classified_without_a_status(name, told, fault):
    tap = tap_of(name)
    shown = jsonio.loads(through(tap, event(told))[6:])
    assert tap.failure.fault is fault
    assert shown == told if "error" in told else tap.failure.message in shown["error"]["message"]


@pytest.mark.parametrize(
    ("name", "status", "told", "fault"),
    [
        ("bytedance", 400, {"code": "OutputTextSensitiveContentDetected.SevereViolation"}, Fault.CONTENT_FILTERED),
        (
            "bytedance",
            400,
            {"code": "InvalidParameter", "message": "Input length 9 exceeds the maximum length 8"},
            Fault.CONTEXT_TOO_LONG,
        ),
        ("deepseek", 400, {"code": "rate_limit_reached"}, Fault.RATE_LIMITED),
        ("alibaba", 429, {"code": "Throttling.AllocationQuota"}, Fault.RATE_LIMITED),
        ("alibaba", 403, {"code": "AccessDenied.Unpurchased"}, Fault.PERMISSION),
        ("tencent", 400, {"code": "ResourceUnavailable.InArrears"}, Fault.QUOTA_EXHAUSTED),
        ("baichuan", 429, {"message": "Insufficient account balance"}, Fault.QUOTA_EXHAUSTED),
        ("minimax", 400, {"code": "2013", "message": "invalid params"}, Fault.BAD_REQUEST),
        ("zhipu", 429, {"code": "1113", "message": "maximum context length"}, Fault.QUOTA_EXHAUSTED),
        (None, 503, {"type": "server_error", "message": "busy"}, Fault.OVERLOADED),
    ],
)
def test_the_code_goes_before_the_message_and_both_before_the_status(name, status, told, fault):
    quirks = find(name).quirks if name else Quirks()
    assert error(status, jsonio.dumps({"error": {"message": "x", **told}}), {}, quirks).fault is fault


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html>gone</html>", "<html>gone</html>"),
        (b"", "no message"),
        (b'[{"error":{"code":429,"message":"slow"}}]', "slow"),
        (b'{"detail":"who"}', "who"),
        (b'{"detail":[{"msg":"n"}]}', '[{"msg":"n"}]'),
    ],
)
def test_an_error_of_any_shape_keeps_its_words(raw, message):
    failure = error(429, raw, {"retry-after": "8", "retry-after-ms": "7421"})
    assert (failure.fault, failure.message, failure.retry_after_s) == (Fault.RATE_LIMITED, message, 7.421)
