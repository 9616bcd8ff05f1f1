"""Money is integers.

A price is an int in pico-units of its currency per unit of usage: 0.0375 per million tokens is exactly 37,500 pico per
token. An amount is an int in nano-units. Usage times price is summed in pico and rounded once, up, when it becomes an
amount; a conversion multiplies by an exact fraction before that one rounding.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

NANO = 10**9
PICO_PER_NANO = 1000
MAX_EXPONENT = 15  # no price, rate or budget is a quadrillion, and decimals of any exponent would be worked out in full


def decimal(value: str | float | Decimal) -> Decimal:
    """The exact decimal that was written: a YAML 0.8 is 0.8, not its nearest binary fraction.

    Raises:
        ValueError: not a finite decimal number.

    """
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    if number and not -MAX_EXPONENT <= number.adjusted() <= MAX_EXPONENT:
        raise ValueError(f"{value!r} is out of range")
    return number


def scaled(value: str | float | Decimal, places: int) -> int:
    """`value` in units of 10^-places, exactly.

    Raises:
        ValueError: negative, or finer than the unit.

    """
    number = decimal(value)
    if number < 0:
        raise ValueError(f"{value} is negative")
    shifted = number.scaleb(places)
    if shifted != shifted.to_integral_value():
        raise ValueError(f"{value} has more than {places} decimal places")
    return int(shifted)


def price_pico(per_million: str | float | Decimal) -> int:
    """Pico-units per token from a price per million tokens."""
    return scaled(per_million, 6)


def amount_nano(value: str | float | Decimal) -> int:
    """Nano-units from an amount in whole units."""
    return scaled(value, 9)


@dataclass(frozen=True, slots=True)
class Rate:
    """An exact exchange rate: one unit of the source currency is numerator/denominator of the target."""

    numerator: int = 1
    denominator: int = 1

    @classmethod
    def of(cls, value: str | float | Decimal) -> "Rate":
        """A rate from the decimal that was written.

        Raises:
            ValueError: not a positive number.

        """
        numerator, denominator = decimal(value).as_integer_ratio()
        if numerator <= 0:
            raise ValueError(f"an exchange rate must be positive, not {value}")
        return cls(numerator, denominator)

    def inverse(self) -> "Rate":
        return Rate(self.denominator, self.numerator)

    def then(self, other: "Rate") -> "Rate":
        """This conversion followed by another."""
        return Rate(self.numerator * other.numerator, self.denominator * other.denominator)


ONE = Rate()


def nano_from_pico(pico: int, rate: Rate = ONE) -> int:
    """The amount that `pico` comes to after conversion, rounded once, up."""
    return -(-pico * rate.numerator // (PICO_PER_NANO * rate.denominator))


def convert_nano(nano: int, rate: Rate) -> int:
    """An amount in another currency, rounded up."""
    return -(-nano * rate.numerator // rate.denominator)


def show(nano: int) -> str:
    """An amount as a plain decimal string, without trailing zeros: 45000 → "0.000045"."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(nano, NANO)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".") if part else f"{sign}{whole}"


def show_price(pico: int) -> str:
    """A price per million tokens as a plain decimal string."""
    return show(pico * PICO_PER_NANO)
