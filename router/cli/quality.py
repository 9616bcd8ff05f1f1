"""`farebox quality …`: learn from labels, measure, score, certify, show."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from router.cli.cascade import cascade
from router.cli.certificates import dated, refusing, tell_certificates, today
from router.cli.common import config_option, no
from router.cli.labels import labels as live_labels
from router.cli.report import format_option, put
from router.quality.calibration import certificates
from router.quality.certificate import load, save
from router.quality.draw import plot
from router.quality.draw import svg as drawn
from router.quality.evaluation import Evaluation, Scored, figures, score_labels
from router.quality.labels import read
from router.quality.model import MAGIC, Model
from router.quality.offpolicy import OffPolicy, off_policy
from router.quality.request import request_of
from router.quality.training import crossed, train

ARTEFACT = Path("quality.model")
CERTIFICATES = Path("quality.json")
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
Told = Callable[[str, float | None], None]


@click.group("quality")
def command() -> None:
    """Cheap when it is good enough: learn from labels, measure, score requests, certify a threshold, show what is in force."""


command.add_command(live_labels)
command.add_command(cascade)


@contextmanager
def progress() -> Iterator[Told]:
    """A line on a terminal that says what is being done; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    last = 0.0

    def told(what: str, share: float | None) -> None:
        nonlocal last
        if (now := time.monotonic()) - last > 0.1:
            last = now
            sys.stderr.write(f"\r\x1b[K{what}{'' if share is None else f' {100 * share:.0f} %'}")
            sys.stderr.flush()

    try:
        yield told
    finally:
        sys.stderr.write("\r\x1b[K")


@command.command("train")
@config_option
@click.argument("labels", nargs=-1, required=True, type=FILE)
@click.option(
    "--out", type=click.Path(path_type=Path), default=ARTEFACT, show_default=True, help="The artefact to write."
)
@click.option("--flagship", metavar="MODEL", help="What the others are compared with (default: the best mean score).")
@click.option(
    "--hold",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    help="A share of the requests to leave for eval and calibrate.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the folds.")
@click.option("--date", default=None, help="The day in the data card (default: today).")
@format_option("table", "json")
def train_(
    config: Path | None,  # noqa: ARG001 (every command takes --config)
    labels: tuple[Path, ...],
    out: Path,
    flagship: str | None,
    hold: float,
    seed: int,
    date: str | None,
    format_: str,
) -> None:
    """Learn from LABELS: JSON lines or CSV, gzipped or not."""
    with refusing(), progress() as told:
        source = ", ".join(path.name for path in labels)
        model = train(
            read(*labels), flagship=flagship, hold=hold, seed=seed, source=source, date=date or today(), told=told
        )
        model.save(out)
    if format_ == "json":
        print(json.dumps(dict(model.card), indent=2, ensure_ascii=False))
    else:
        _card(model, out)


def _card(model: "Model", path: Path) -> None:
    card = model.card
    print(f"{path}: {card['requests']:,} requests, {card['labels']:,} rows, from {card['source']} on {card['date']}")
    print(
        f"hash {card['hash']}, seed {card['seed']}"
        + (f"; {card['requests_held_out']:,} requests held out" if card["held_out"] else "")
    )
    rows = []
    for name in model.models:
        told = card["cross_validated"]["pairs"].get(name, {})
        saved, mix = told.get("saved", {}), told.get("random_mix", {})
        said = "reference" if name == model.flagship else "gap" if model.by_gap[model.models.index(name)] else "head"
        rows.append((
            name, card["labels_per_model"][name], card["mean_score"][name], said, card["strengths"][name], told.get("n"),
            told.get("apgr"), *(value for level in ("0.90", "0.95", "0.99") for value in (saved.get(level), mix.get(level))),
        ))  # fmt: skip
    columns = (
        "model",
        "labels",
        "mean score",
        "by",
        "strength",
        "n",
        "apgr",
        "saved at 90 %",
        "mix 90",
        "at 95 %",
        "mix 95",
        "at 99 %",
        "mix 99",
    )
    put("table", columns, rows, columns[1:3] + columns[4:])
    print(
        f"cross-validated on {card['cross_validated']['requests']:,} requests in {card['cross_validated']['folds']} folds; `farebox quality eval` has intervals"
    )


@command.command("eval")
@config_option
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="[ARTEFACT] LABELS...")
@click.option(
    "--flagship", metavar="MODEL", help="What is compared with (default: the artefact's, or the best mean score)."
)
@click.option("--cheap", metavar="MODEL", multiple=True, help="Only this model against it; may be given again.")
@click.option(
    "--folds",
    type=click.IntRange(2, 20),
    default=5,
    show_default=True,
    help="Of the cross-validation, where no artefact is given.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the folds and the intervals.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the first pair's cost-quality curve there.")
@click.option(
    "--certificates", type=FILE, help="What deciding by these would have scored on LABELS that were routed by lot."
)
@format_option("table", "json")
def eval_(
    config: Path | None,  # noqa: ARG001 (every command takes --config)
    files: tuple[Path, ...],
    flagship: str | None,
    cheap: tuple[str, ...],
    folds: int,
    seed: int,
    svg: Path | None,
    certificates: Path | None,
    format_: str,
) -> None:
    """Measure an ARTEFACT on LABELS that it was not trained on, or by cross-validation where there is none."""
    with refusing(), progress() as told:
        scored, best, how = _scored(files, flagship, folds, seed, told)
        found = figures(scored, best, cheap, seed, how)
        if not found.pairs:
            no(
                f"{found.requests} requests are left to measure on ({found.left_out} were trained on); too few for figures"
            )
        if svg is not None:
            svg.write_text(drawn(found.pairs[0]), encoding="utf-8")
        by_lot = _by_lot(files, certificates)
    if format_ == "json":
        more = {} if by_lot is None else {"off_policy": by_lot.as_json()}
        print(json.dumps({**found.as_json(), **more}, indent=2, ensure_ascii=False))
        return
    _tell(found)
    if by_lot is not None:
        print(f"\nby {certificates}, on requests that were routed by lot (score {by_lot.served:.3f} as served):")
        for name, one in (("inverse propensity", by_lot.inverse_propensity), ("doubly robust", by_lot.doubly_robust)):
            print(
                f"  {name:18} {one.value:.3f} ({one.low:.3f} to {one.high:.3f}), n {one.n}, worth {one.effective:.0f}"
            )
    print()
    print(plot(found.pairs[0]))


def _by_lot(files: tuple[Path, ...], chosen: Path | None) -> OffPolicy | None:
    if chosen is None:
        return None
    if not _artefact(files[0]):
        raise click.UsageError("--certificates needs the artefact that they were made with")
    return off_policy(read(*files[1:]), Model.load(files[0]), {each.route: each for each in load(chosen)})


def _artefact(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _scored(
    files: tuple[Path, ...], flagship: str | None, folds: int, seed: int, told: Told
) -> "tuple[Scored, str, str]":
    """Labels with predictions for them, the flagship's name, and how the predictions were made."""
    if _artefact(files[0]):
        if len(files) == 1:
            raise click.UsageError("labels are missing behind the artefact")
        model = Model.load(files[0])
        return (
            score_labels(model, read(*files[1:]), told),
            flagship or model.flagship,
            f"by {files[0].name}, on requests it did not see",
        )

    scored, best = crossed(read(*files), flagship=flagship, seed=seed, folds=folds, told=told)
    return scored, best, f"cross-validated in {folds} folds"


def _tell(found: "Evaluation") -> None:
    left = f"; {found.left_out:,} were trained on and are left out" if found.left_out else ""
    print(f"{found.requests:,} requests, {found.how}, seed {found.seed}{left}")
    columns = ("pair", "part", "n", "by", "APGR", "CPT50", "CPT80", "saved at 90 %", "at 95 %", "at 99 %")
    rows = []
    for pair in found.pairs:
        for number, (name, points) in enumerate({"learnt": pair.learnt, **pair.baselines}.items()):
            learnt = name == "learnt"
            rows.append((
                f"{pair.cheap} for {pair.flagship}" if not number else None, pair.part or "all" if not number else None,
                pair.n if not number else None, name, _value(points.apgr(), pair.intervals.get("apgr") if learnt else None, 1),
                _value(points.cpt(0.5)), _value(points.cpt(0.8)),
                *(_value(points.saved_at(level), pair.intervals.get(f"{level:.2f}") if learnt else None) for level in (0.9, 0.95, 0.99)),
            ))  # fmt: skip
    put("table", columns, rows, ("n",))
    if not all(pair.costs_known for pair in found.pairs):
        print("where labels have no costs, a saving is the share of requests that the flagship is spared")


def _value(value: float | None, interval: tuple[float, float] | None = None, whole: int = 100) -> str | None:
    if value is None:
        return None
    digits = 3 if whole == 1 else 1
    told = f"{whole * value:.{digits}f}"
    return (
        told if interval is None else f"{told} ({whole * interval[0]:.{digits}f} to {whole * interval[1]:.{digits}f})"
    )


@command.command("score")
@config_option
@click.argument("artefact", type=FILE)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--route", default="", help="The route of requests that name none.")
def score_(config: Path | None, artefact: Path, file: Path, route: str) -> None:  # noqa: ARG001 (every command takes --config)
    """P(acceptable) per model by the ARTEFACT for each request of FILE (rows as of labels; what they were scored is not read), a JSON object a line."""
    with refusing():
        model = Model.load(artefact)
        rows: Iterable[Any] = map(json.loads, filter(str.strip, sys.stdin)) if str(file) == "-" else read(file)
        for number, row in enumerate(rows, 1):
            request = request_of(row, route)
            said = {name: round(value, 6) for name, value in model.score(request).items()}
            told: dict[str, Any] = {"row": number}
            if isinstance(row, Mapping):
                told |= {key: row[key] for key in ("id", "prompt_id") if key in row}
            print(json.dumps({**told, "scores": said}, ensure_ascii=False))


@command.command("calibrate")
@config_option
@click.argument("artefact", type=FILE)
@click.argument("labels", nargs=-1, required=True, type=FILE)
@click.option(
    "--epsilon",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="The most quality that may be lost, on average.",
)
@click.option(
    "--delta",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="The chance that the promise is wrong.",
)
@click.option(
    "--basis",
    type=click.Choice(["points", "share"]),
    default="points",
    show_default=True,
    help="Epsilon in points of score, or as a share of the flagship's own quality.",
)
@click.option("--flagship", metavar="MODEL", help="Default: the artefact's.")
@click.option(
    "--cheap", metavar="MODEL", multiple=True, help="What may answer instead; several are a list (default: all)."
)
@click.option("--per-route", is_flag=True, help="A certificate for each route, with delta split among them.")
@click.option(
    "--human", type=FILE, multiple=True, help="Labels by people; LABELS are a judge's then, and are corrected by these."
)
@click.option("--prices", default="", metavar="DATE", help="The date of the price book that the costs are of.")
@click.option("--date", default=None, help="The day in the certificate (default: today).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which labels are tested.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=CERTIFICATES,
    show_default=True,
    help="Where certificates are written.",
)
@format_option("table", "json")
def calibrate_(
    config: Path | None,
    artefact: Path,
    labels: tuple[Path, ...],
    out: Path,
    format_: str,
    **asked: Any,
) -> None:
    """Certify a threshold on LABELS that the ARTEFACT was not trained on: with confidence 1 - delta, at most epsilon lost."""
    with refusing(), progress() as told:
        model = Model.load(artefact)
        scored = score_labels(model, read(*labels), told)
        people = score_labels(model, read(*asked["human"]), told) if asked["human"] else None
        asked["date"] = asked["date"] or today()
        made, refused = certificates(model, scored, people, asked)
        if made := dated(made, config):
            save(made, out)
    for why in refused:
        print(why, file=sys.stderr)
    if made:
        tell_certificates(made, format_)
        print(f"written to {out}", file=sys.stderr)
    else:
        sys.exit(1)


@command.command("show")
@config_option
@click.argument("files", nargs=-1, type=FILE)
@format_option("table", "json")
def show_(config: Path | None, files: tuple[Path, ...], format_: str) -> None:  # noqa: ARG001 (every command takes --config)
    """What is in force: the data card of artefacts and the promises of certificates among FILES (default: quality.model, quality.json)."""
    chosen = files or tuple(path for path in (ARTEFACT, CERTIFICATES) if path.exists())
    if not chosen:
        no(f"there is no {ARTEFACT} and no {CERTIFICATES} here; `farebox quality train` and `calibrate` make them")
    with refusing():
        for path in chosen:
            if _artefact(path):
                model = Model.load(path)
                if format_ == "json":
                    print(json.dumps(dict(model.card), indent=2, ensure_ascii=False))
                else:
                    _card(model, path)
            else:
                tell_certificates(list(load(path)), format_)
