"""`farebox check`."""

import sys
from pathlib import Path

import click

from router.cli.common import config_option, config_path, no
from router.settings import plays_vendors
from router.snapshot import load
from router.yamlfile import BadConfiguration


@click.command("check")
@config_option
@click.argument("file", required=False, type=click.Path(path_type=Path))
def command(config: Path | None, file: Path | None) -> None:
    """Validate a configuration and its price books: every problem at once, with file, line, key and what would be right."""
    path = config_path(file or config)
    try:
        snapshot = load(path, "http://mock.invalid" if plays_vendors(path) else None)
    except BadConfiguration as error:
        count = len(error.problems)
        no(f"{error}\n{count} problem{'s' if count > 1 else ''}")
    for warning in snapshot.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    catalog = snapshot.catalog
    print(
        f"{path} is right: {len(catalog.models)} models, {len(catalog.routes)} routes, {len(snapshot.teams)} teams, "
        f"{len(snapshot.budgets)} budgets"
    )
