"""What recorded traffic would have cost at another price: a row of the ledger, as far as a price depends on it."""

from dataclasses import dataclass

from router.core.prices import Facts, Price, charge_pico_with_free
from router.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Consumed:
    """One attempt as it was charged. Amounts are in nano-units."""

    at: int  # microseconds since 1970
    ended_at: int  # when the answer was complete
    team: str
    model: str
    vendor: str
    cost: int
    currency: str
    vendor_cost: int
    vendor_currency: str
    usage: Usage
    service_tier: str | None = None  # that served it, as the vendor says
    free_tokens: int | None = None  # of its tokens, taken from a free quota

    def pico_at(self, price: Price) -> int:
        """The exact cost of its usage at a price, in the price's currency. The clock is that of the attempt; it counts as
        thinking if it reasoned, which is all that the ledger knows of it; what was taken from a free quota is free where
        the price has one.

        Raises:
            Unpriced: the price does not cover it.

        """
        usage = self.usage
        at = self.ended_at if price.evaluated == "completion" else self.at
        thinking = bool(usage.output_reasoning)
        facts = Facts(at, usage.input_total, usage.output_total, thinking, self.service_tier)
        if self.free_tokens and price.quota is not None:
            if price.quota.unit == "requests":
                return 0
            return charge_pico_with_free(price, usage, facts, self.free_tokens)
        return price.cost_pico(usage, facts)
