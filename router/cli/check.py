"""`farebox check`."""

import sys
from pathlib import Path

import click

from router.cli.common import config_option, config_path, no
from router.cli.pricetext import doubts
from router.pricebook import now_micros
from router.settings import plays_vendors
from router.snapshot import load
from router.yamlfile import BadConfiguration


@click.command("check")
@config_option
@click.argument("file", required=False, type=click.Path(path_type=Path))
def command(config: Path | None, file: Path | None) -> None:
    """Validate a configuration and its price books: every problem at once, with file, line, key and what would be right.

    Warns of prices that are refused now, and of those that nobody has compared with their source for long.
    """
    path = config_path(file or config)
    try:
        snapshot = load(path, "http://mock.invalid" if plays_vendors(path) else None)
    except BadConfiguration as error:
        count = len(error.problems)
        no(f"{error}\n{count} problem{'s' if count > 1 else ''}")
    for warning in snapshot.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    catalog, now = snapshot.catalog, now_micros()
    for model in catalog.models.values():
        needs = ("input",) if model.kind == "embedding" else ("input", "output")
        if told := doubts(model.timeline, needs, now):
            print(f"warning: {path}: models.{model.name}: {told}", file=sys.stderr)
    print(
        f"{path} is right: {len(catalog.models)} models, {len(catalog.routes)} routes, {len(snapshot.teams)} teams, "
        f"{len(snapshot.budgets)} budgets"
    )
