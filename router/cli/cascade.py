"""`farebox quality cascade`: certify from which score of its checker or judge on a cheap answer may be passed on."""

import sys
from pathlib import Path
from typing import Any

import click

from router.cli.certificates import dated, refusing, tell_certificates, today
from router.cli.common import config_option
from router.cli.report import format_option
from router.core.cascade import scored_by
from router.quality.cascade import certify_cascade
from router.quality.certificate import save
from router.quality.labels import read

SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("cascade")
@config_option
@click.argument("labels", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--flagship", metavar="MODEL", required=True, help="Who is asked where a cheap answer is not accepted.")
@click.option("--cheap", metavar="MODEL", required=True, help="Who is asked first.")
@click.option("--judge", metavar="MODEL", help="Whose scores `judge` of the labels are.")
@click.option("--checker", is_flag=True, help="`checker` of the labels are the scores of the route's checker.")
@click.option("--route", default="", help="Of which route the promise is (default: every one).")
@click.option("--epsilon", type=SHARE, default=0.05, show_default=True, help="The most that may be lost, on average.")
@click.option("--delta", type=SHARE, default=0.05, show_default=True, help="The chance that the promise is wrong.")
@click.option("--date", default=None, help="The day in the certificate (default: today).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which labels are tested.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("cascade.json"),
    show_default=True,
    help="Where it is written.",
)
@format_option("table", "json")
def cascade(
    config: Path | None,
    labels: tuple[Path, ...],
    judge: str | None,
    out: Path,
    format_: str,
    *,
    checker: bool,
    **asked: Any,
) -> None:
    """Certify from LABELS from which score on a cascade may pass on cheap answers: with confidence 1 - delta, at most epsilon lost."""
    names = [name for name, there in (("checker", checker), ("judge", judge is not None)) if there]
    if not names:
        raise click.UsageError("say whose scores the labels have: --judge MODEL, --checker or both")
    asked["date"] = asked["date"] or today()
    with refusing():
        made = dated(
            [certify_cascade(read(*labels), names, artefact=scored_by(checker, judge), **asked)],
            config,
        )
        save(made, out)
    tell_certificates(made, format_)
    print(f"written to {out}", file=sys.stderr)
