"""Token estimates that calibrate themselves on the usage that comes back.

For each model, script (CJK apart) and tools or none, what is billed is taken to be `factor` times the counted text, plus
the chat format as counted, plus a constant of `hidden` tokens: a system prompt of the vendor's own, the preamble of its
tools. Both are followed by a Kalman filter of two unknowns: the factor is let drift, the constant hardly, so that a
hidden prompt is not forgotten while only long requests come. It also says how far the estimate may be off at any size,
known or not yet known: its *spread*.

The bound is not made from a believed distribution. It is the largest error, in spreads, of the model's last 512 to 575
answers, and a quarter more: were errors only exchangeable, one in 513 would go beyond the largest of them, whatever their
distribution (split conformal prediction at its widest quantile). The rest of `COVERAGE` is for changes nobody could
foresee: a vendor that changes its tokenizer breaks the bound once or twice, and then that is the largest error.

What is learnt lives as long as the process. After a restart the bounds for a stranger hold until enough answers came.
"""

from collections.abc import Iterator
from math import sqrt

from router.core.catalog import Model
from router.core.tokens import Counting, Estimate, Learnt, is_cjk

COVERAGE = 0.995
"""The share of requests that are billed no more than their bound. One in 200 goes beyond it, mostly by little."""

ENOUGH = 30  # errors of a model from which its bound is learnt; before that a stranger's bound holds
SETTLED = 10  # answers of a kind after which its errors are those of a fit that knows it

NOISE = 0.02  # what is usual: a tokenizer's factor varies by about 2 % from text to text (English, code, lists)
GRAIN = 100  # tokens: in a shorter text the error is a matter of single tokens, in a longer one of per cents
DRIFT = 0.002  # of the factor from one answer to the next; with `NOISE`, about ten answers are remembered
DRIFT_HIDDEN = 0.2  # tokens; a constant that is followed through hundreds of answers
DOUBT = 0.3  # how far a stranger's factor is off: 0.84 to 1.33 was measured over vocabularies
DOUBT_EXACT = 0.05  # the same where the vocabulary is known
DOUBT_HIDDEN = 200.0  # tokens; 0 to 550 were measured
FACTORS = (0.3, 3.0)  # no vocabulary lies outside; a bill that says so has something else in it
MESSAGE = 4  # tokens of the chat format in each message: with those of a request, the most that all may have too many
OUTLIER = 4.0  # spreads beyond which an answer moves the fit no further ...
UNUSUAL = 3.0  # ... unless answers have been that many times as far off of late: then the world has changed
LATELY = 0.05  # weight of the newest answer in what is usual

BLOCK, BLOCKS = 64, 8  # the largest error is kept of each of the last 8 times 64 answers
SPARE = 1.25  # times the largest error ...
SPARE_NEW = 15.0  # ... and this over the number of errors seen more: the largest of 30 is not yet the largest of 500
NARROWEST = 0.5  # spreads: 1 % and a token, even if every estimate was right
WIDEST = 30.0  # spreads: 60 %, what is held for a stranger; a bill far beyond has something else in it


class Calibrator:
    """What each model's bills have taught. Costs the same however much it has seen."""

    def __init__(self) -> None:
        self._taught: dict[tuple[str, str], _Taught] = {}
        self._learnt: dict[tuple[str, str, bool, bool], Learnt] = {}
        self._of_vendors: dict[tuple[str, bool, bool], Learnt] = {}  # by whichever of its models has answered last

    def learnt(self, model: Model, cjk: bool, tools: bool) -> Learnt | None:  # noqa: FBT001 (the kinds of text there are)
        """What is known of a model's count for one kind of request. Before its first answer, and where its vocabulary is not
        known, that of its vendor's other models is believed of it: else a model would look cheap for not having billed yet
        what the others have. None if nothing is known of those either.
        """
        own = self._learnt.get((model.vendor, model.wire_name, cjk, tools))
        if own is not None or model.counting.exact:
            return own
        return self._of_vendors.get((model.vendor, cjk, tools))

    def kinds(self, model: Model) -> Iterator[tuple[bool, bool, Learnt]]:
        """(CJK?, tools?, what was learnt) for each kind of request that a model has answered."""
        taught = self._taught.get((model.vendor, model.wire_name))
        for kind in taught.fits if taught else ():
            yield *kind, self._learnt[model.vendor, model.wire_name, *kind]

    def factor(self, model: Model, text: str) -> float:
        """Billed tokens to a counted one in a text that the model wrote: what its prompts have taught, since both are
        counted with one vocabulary.
        """
        learnt = self.learnt(model, is_cjk((text,), len(text.encode("utf-8", "surrogatepass"))), False)
        return model.counting.factor / 1000 if learnt is None or learnt.over is None else learnt.factor

    def observe(self, model: Model, estimate: Estimate, billed: int) -> None:
        """Learn from the prompt tokens that a vendor reports for a request that was estimated so."""
        sample = estimate.sample
        if sample is None or billed <= 0:
            return
        name = (model.vendor, model.wire_name)
        taught = self._taught.get(name)
        if taught is None:
            taught = self._taught[name] = _Taught(model.counting)
        rest = billed - sample.fixed
        taught.observe(
            (sample.cjk, sample.tools), sample.text, rest, billed - estimate.tokens if sample.bounded else None
        )
        over, under = taught.over.reach(), taught.under.reach()
        for kind, fit in taught.fits.items():
            self._learnt[*name, *kind] = fit.learnt(over, under)
        newest = taught.fits[sample.cjk, sample.tools]
        self._of_vendors[model.vendor, sample.cjk, sample.tools] = newest.learnt(None, None)


class _Taught:
    """One model: a fit for each kind of request, and how far off they were, together, so that a change that one kind
    shows is a warning for all.
    """

    __slots__ = ("_counting", "fits", "over", "under")

    def __init__(self, counting: Counting) -> None:
        self._counting = counting
        self.fits: dict[tuple[bool, bool], _Fit] = {}
        self.over, self.under = _Largest(), _Largest()

    def observe(self, kind: tuple[bool, bool], text: int, rest: int, missed: int | None) -> None:
        """Take in one answer.

        Args:
            kind: (CJK?, tools?)
            text: counted tokens.
            rest: tokens billed besides the chat format.
            missed: by how much the estimate was off, if it was made with a learnt bound. It may be older than what other
                answers have taught meanwhile, and that too is an error of the bound's.

        """
        fit = self.fits.get(kind)
        if fit is None:
            fit = self.fits[kind] = _Fit(self._counting)
        error, spread = rest - fit.predicted(text), fit.spread(text)
        if fit.answers >= SETTLED:
            off = (error if missed is None else missed) / spread
            self.over.add(off)
            self.under.add(-off)
        fit.learn(text, error, spread)


class _Fit:
    """Factor and constant of one kind of request, with their covariance: a Kalman filter in five numbers."""

    __slots__ = ("_both", "_factor", "_hidden", "_least", "_of_factor", "_of_hidden", "_usual", "answers")

    def __init__(self, counting: Counting) -> None:
        self._factor, self._hidden = counting.factor / 1000, 0.0
        self._least = float(-counting.per_request - MESSAGE)
        doubt = DOUBT_EXACT if counting.exact else DOUBT
        self._of_factor, self._both, self._of_hidden = doubt * doubt, 0.0, DOUBT_HIDDEN * DOUBT_HIDDEN
        self._usual = 1.0
        self.answers = 0

    def predicted(self, text: int) -> float:
        return self._factor * text + self._hidden

    def spread(self, text: int) -> float:
        a, b, c = self._variance()
        return sqrt((a * text + b) * text + c)

    def _variance(self) -> tuple[float, float, float]:
        """Of the error, by the text's tokens: what is usual, and what is not known yet of factor and constant."""
        usual = NOISE * NOISE
        return (
            usual + self._of_factor,
            2 * (usual * GRAIN + self._both),
            usual * GRAIN * GRAIN + self._of_hidden,
        )

    def learn(self, text: int, error: float, spread: float) -> None:
        off = abs(error) / spread
        limit = max(OUTLIER, UNUSUAL * self._usual)
        self._usual += LATELY * (min(off, WIDEST) - self._usual)
        if off > limit:
            error *= limit / off
        for_factor = self._of_factor * text + self._both
        for_hidden = self._both * text + self._of_hidden
        gain, gain_hidden = for_factor / (spread * spread), for_hidden / (spread * spread)
        self._factor = min(max(self._factor + gain * error, FACTORS[0]), FACTORS[1])
        self._hidden = max(self._hidden + gain_hidden * error, self._least)
        self._of_factor -= gain * for_factor
        self._both -= gain * for_hidden
        self._of_hidden -= gain_hidden * for_hidden
        if self._of_factor < DOUBT * DOUBT:
            self._of_factor += DRIFT * DRIFT
        if self._of_hidden < DOUBT_HIDDEN * DOUBT_HIDDEN:
            self._of_hidden += DRIFT_HIDDEN * DRIFT_HIDDEN
        self.answers += 1

    def learnt(self, over: float | None, under: float | None) -> Learnt:
        if over is None or under is None or self.answers < SETTLED:
            return Learnt(self._factor, self._hidden)
        return Learnt(self._factor, self._hidden, *self._variance(), over, under)


class _Largest:
    """The largest of the last 512 to 575 errors, in spreads, kept by blocks of 64: adding one costs the same at any time."""

    __slots__ = ("_before", "_blocks", "_here", "_now", "_seen")

    def __init__(self) -> None:
        self._blocks: list[float] = []
        self._before = self._now = 0.0
        self._here = self._seen = 0

    def add(self, off: float) -> None:
        self._seen += 1
        self._here += 1
        self._now = max(self._now, off)
        if self._here == BLOCK:
            self._blocks = [*self._blocks[1 - BLOCKS :], self._now]
            self._before = max(self._blocks)
            self._now, self._here = 0.0, 0

    def reach(self) -> float | None:
        """The bound, in spreads; None while too little was seen."""
        if self._seen < ENOUGH:
            return None
        spare = SPARE + SPARE_NEW / min(self._seen, BLOCK * BLOCKS)
        return min(max(spare * max(self._before, self._now), NARROWEST), WIDEST)
