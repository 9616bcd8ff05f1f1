"""The cost-quality curve as SVG and as text."""

from html import escape

import numpy as np

from router.quality.curve import Curve
from router.quality.evaluation import PairFigures

_COLOURS = {"learnt": "#0b6e4f", "random mix": "#888888", "length rule": "#c77d0a", "oracle": "#3a5fcd"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BELOW = 640, 400, 64, 40, 130, 48


def _curves(pair: PairFigures) -> dict[str, Curve]:
    return {"learnt": pair.learnt, **pair.baselines}


def _relative(pair: PairFigures, points: Curve) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Cost and quality as shares of the flagship's, thinned."""
    keep = np.unique(np.linspace(0, len(points.saved) - 1, 200).astype(int))
    return 1 - points.saved[keep], points.quality[keep] / max(pair.flagship_score, 1e-9)


def svg(pair: PairFigures) -> str:
    """One pair's curves: cost to the right, quality upwards, both as shares of always-flagship."""
    drawn = {name: _relative(pair, points) for name, points in _curves(pair).items()}
    low = min(0.95, *(float(quality.min()) for _, quality in drawn.values()))
    low = np.floor(low * 20) / 20
    high = np.ceil(max(1.0, *(float(quality.max()) for _, quality in drawn.values())) * 20) / 20
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BELOW

    def x(cost: float) -> float:
        return _LEFT + wide * min(cost, 1.2)

    def y(quality: float) -> float:
        return float(_TOP + tall * (high - quality) / (high - low))

    title = f"{pair.cheap} for {pair.flagship}, n = {pair.n}{', ' if pair.part else ''}{pair.part}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line x1="{x(tick):.1f}" y1="{_TOP}" x2="{x(tick):.1f}" y2="{_TOP + tall}" stroke="#eeeeee"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{_TOP + tall + 16}" text-anchor="middle">{100 * tick:.0f} %</text>')
    steps = max(1, round((high - low) / 0.05 / 8))
    for number in range(0, round((high - low) / 0.05) + 1, steps):
        level = low + 0.05 * number
        parts.append(
            f'<line x1="{_LEFT}" y1="{y(level):.1f}" x2="{_LEFT + wide}" y2="{y(level):.1f}" stroke="#eeeeee"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{100 * level:.0f} %</text>')
    parts.append(
        f'<line x1="{_LEFT}" y1="{y(0.95):.1f}" x2="{_LEFT + wide}" y2="{y(0.95):.1f}" stroke="#bb3333" stroke-dasharray="4 3"/>'
    )
    for number, (name, (cost, quality)) in enumerate(drawn.items()):
        line = " ".join(f"{x(c):.1f},{y(q):.1f}" for c, q in zip(cost.tolist(), quality.tolist(), strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"/>')
        at = _TOP + 14 + 18 * number
        parts.append(f'<text x="{_LEFT + wide + 12}" y="{at}" fill="{_COLOURS[name]}">{escape(name)}</text>')
    parts.append(
        f'<text x="{_LEFT + wide / 2:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">cost of always-flagship</text>'
    )
    parts.append(
        f'<text x="16" y="{_TOP + tall / 2:.0f}" text-anchor="middle" transform="rotate(-90 16 {_TOP + tall / 2:.0f})">its quality</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def plot(pair: PairFigures, width: int = 60, height: int = 14) -> str:
    """The same for a terminal: `*` learnt, `.` random mix, `o` oracle."""
    drawn = [
        (sign, _relative(pair, _curves(pair)[name]))
        for sign, name in ((".", "random mix"), ("o", "oracle"), ("*", "learnt"))
    ]
    low = min(float(quality.min()) for _, (_, quality) in drawn)
    high = max(1.0, *(float(quality.max()) for _, (_, quality) in drawn))
    grid = [[" "] * width for _ in range(height)]
    for sign, (cost, quality) in drawn:
        for c, q in zip(cost.tolist(), quality.tolist(), strict=True):
            column = min(width - 1, int(min(c, 1.0) * (width - 1)))
            grid[round((high - q) / max(high - low, 1e-9) * (height - 1))][column] = sign
    lines = [
        f"{100 * (high - (high - low) * number / (height - 1)):6.1f} % |{''.join(row).rstrip()}"
        for number, row in enumerate(grid)
    ]
    return "\n".join(
        [*lines, " " * 9 + "+" + "-" * width, " " * 10 + "0 %" + "cost of always-flagship".center(width - 8) + "100 %",
         " " * 10 + "quality upwards; * learnt   . random mix   o oracle"]
    )  # fmt: skip
