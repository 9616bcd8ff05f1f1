"""What a client is told beside the vendor's answer: who gave it and why, and what it cost."""

from collections.abc import Callable

from router.core.charge import Charge
from router.core.money import show
from router.core.prices import Unpriced
from router.core.usage import Usage
from router.dialects import PlainReader, StreamReader
from router.dialects.turn import Turn, Turned
from router.tally import Tally
from router.upstream import Exchange

PASSED_HEADERS = ("x-request-id", "request-id", "openai-processing-ms", "openai-version")
MOST_REASON = 1000  # characters of a header: clients and proxies take some 8 kB of them all
_PASSED_WITH_TYPE = ("content-type", *PASSED_HEADERS)
_REWRITTEN = (Turn, Turned)


def farebox_headers(tally: Tally) -> dict[str, str]:
    """What every answer says about itself."""
    attempt = tally.attempt
    return {
        "server": "farebox",
        "x-farebox-request-id": attempt.request_id,
        "x-farebox-model": one_line(attempt.model),
        "x-farebox-vendor": one_line(attempt.vendor),
        "x-farebox-tier": attempt.tier,
        "x-farebox-reason": one_line(attempt.reason),
    }


def one_line(text: str, most: int = MOST_REASON) -> str:
    """A text of any script that fits a header and a column, whatever is in it; servers send it as UTF-8."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text
    told = "".join([char if char.isprintable() else " " for char in text[: most + 1]])
    shown = " ".join(told.split())
    return shown if len(text) <= most else f"{shown[: most - 1]}…"


def passed(exchange: Exchange, reader: StreamReader | PlainReader) -> dict[str, str]:
    """Of the vendor's headers what is the client's too: its type only where the bytes are."""
    names = PASSED_HEADERS if isinstance(reader, _REWRITTEN) else _PASSED_WITH_TYPE
    return {name: one_line(value) for name in names if (value := exchange.headers.get(name))}


def cost_header(tally: Tally) -> dict[str, str]:
    """What a plain answer cost, where that is known."""
    charge = None if tally.usage is None else _charge(tally, tally.usage)
    return {} if charge is None else {"x-farebox-cost": show(charge.cost)}


def bill(tally: Tally) -> Callable[[Usage], bytes]:
    """How a usage is shown with what it cost."""

    def members(usage: Usage) -> bytes:
        charge = _charge(tally, usage)
        return b"" if charge is None else _members(charge, tally.attempt.currency)

    return members


def _charge(tally: Tally, usage: Usage) -> Charge | None:
    """What the client is told; nothing where the settlement will have to estimate."""
    if not tally.is_whole(usage):
        return None
    try:
        return tally.charge(usage)
    except Unpriced:
        return None


def _members(charge: Charge, currency: str) -> bytes:
    """What a shown usage has besides the vendor's fields; amounts are exact decimals, not binary floats."""
    return (f'"cost":{show(charge.cost)},"cost_currency":"{currency}","flagship_cost":{show(charge.flagship)}').encode()
