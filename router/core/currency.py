"""Exchange rates into the reporting currency, each with the day from which it holds."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from router.core.money import ONE, Rate


class ExchangeRates:
    """Dated rates; a decision takes the table of its instant."""

    __slots__ = ("_dated", "_tables", "_turns", "reporting")

    def __init__(self, reporting: str, dated: Mapping[str, Sequence[tuple[int, Rate]]]) -> None:
        """`dated` maps a currency to (instant from which it holds, rate), in microseconds since 1970."""
        self.reporting = reporting
        self._dated = {currency: sorted(rows, key=lambda row: row[0]) for currency, rows in dated.items()}
        self._turns = sorted({start for rows in self._dated.values() for start, _ in rows})
        self._tables = [self._table(turn) for turn in (-(2**62), *self._turns)]

    def _table(self, at: int) -> Mapping[str, Rate]:
        table = {self.reporting: ONE}
        for currency, rows in self._dated.items():
            i = bisect_right(rows, at, key=lambda row: row[0]) - 1
            if i >= 0:
                table[currency] = rows[i][1]
        return table

    @property
    def turns(self) -> tuple[int, ...]:
        """The instants at which a rate changes."""
        return tuple(self._turns)

    def at(self, instant: int) -> Mapping[str, Rate]:
        """Currency → reporting currency, for every currency that has a rate at this instant."""
        return self._tables[bisect_right(self._turns, instant)]


def between(rates: Mapping[str, Rate], source: str, target: str) -> Rate:
    """The rate from one currency to another, through the reporting currency.

    Raises:
        KeyError: a currency has no rate.

    """
    return ONE if source == target else rates[source].then(rates[target].inverse())
