"""Numbers as people read them, and bars. A bar is an SVG: its widths are attributes, which the page's policy allows."""

from datetime import timedelta

from router.admin.markup import Html, join, tag
from router.admin.words import Words
from router.core.limits import MICROS, moment
from router.core.money import NANO, show

NBSP = "\u00a0"


def money(nano: int, currency: str = "") -> Html:
    """Rounded for the eye; the exact amount is the element's value."""
    shown = f"{currency}{NBSP}{rounded(nano)}" if currency else rounded(nano)
    return tag("data", shown, value=show(nano))


def rounded(nano: int) -> str:
    """1234.567 → 1,234.57 · 0.0314159 → 0.0314 · 0.000045678 → 0.000046 · less than a millionth → <0.000001"""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    if nano >= NANO:
        cents = (nano + 5_000_000) // 10_000_000
        return f"{sign}{cents // 100:,}.{cents % 100:02d}"
    if 0 < nano < 1000:
        return f"{sign}<0.000001"
    step = 100_000 if nano >= NANO // 100 else 1000
    return sign + show((nano + step // 2) // step * step)


def percent(part: int, whole: int) -> str:
    """A share in whole per cent; something is never shown as nothing, and nearly all never as all."""
    if whole <= 0:
        return "–"
    share = (200 * part + whole) // (2 * whole)
    if share == 0 and part > 0:
        return f"<1{NBSP}%"
    if share == 100 and part < whole:
        return f">99{NBSP}%"
    return f"{share}{NBSP}%"


def count(number: int) -> str:
    """1234 → 1,234 · 1234567 → 1.23 M"""
    for unit, size in (("G", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.2f}{NBSP}{unit}"
    return f"{number:,}"


def tick(nano: int) -> str:
    """A round amount on a scale: 0.002 · 500 · 1,000"""
    whole, point, part = show(nano).partition(".")
    return f"{int(whole):,}{point}{part}"


def duration(micros: int, words: Words) -> str:
    """How long until then, in its two largest units, or in days alone where they are many."""
    seconds = max(0, micros // MICROS)
    parts = (("d", seconds // 86400), ("h", seconds // 3600 % 24), ("min", seconds // 60 % 60), ("s", seconds % 60))
    first = next((i for i, (_, number) in enumerate(parts) if number), len(parts) - 1)
    shown = parts[:1] if parts[0][1] >= 10 else parts[first : first + 2]
    return " ".join(f"{number}{NBSP}{words(f'unit_{unit}')}" for unit, number in shown)


def when(at: int, now: int, clock: str = "%H:%M:%S", far: str = "%Y-%m-%d %H:%M") -> Html:
    """A moment, in UTC: the time alone if it is less than a day away."""
    then = moment(at)
    near = abs(moment(now) - then) < timedelta(days=1)
    shown = then.strftime(clock if near else far)
    return tag("time", shown, datetime=then.isoformat(timespec="seconds").replace("+00:00", "Z"))


def bar(label: str, parts: list[tuple[str, int]], whole: int, marks: list[tuple[str, int]] | None = None) -> Html:
    """Parts of a whole, side by side, and marks upon them; `label` tells the same in words."""
    pieces: list[Html] = []
    at = 0.0
    for kind, part in parts:
        width = min(100.0 - at, 100 * part / whole) if whole > 0 else 0.0
        if width > 0:
            pieces.append(tag("rect", class_=kind, x=f"{at:.2f}%", y="0", width=f"{width:.2f}%", height="100%"))
        at += max(0.0, width)
    for kind, place in marks or ():
        x = f"{min(99.6, 100 * place / whole) if whole > 0 else 0:.2f}%"
        pieces.append(tag("line", class_=kind, x1=x, x2=x, y1="0", y2="100%"))
    return tag("svg", join(pieces), class_="bar", role="img", aria_label=label)
