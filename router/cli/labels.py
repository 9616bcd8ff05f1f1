"""`farebox quality labels`: what live traffic has taught, for `train` and `eval`."""

import sys
from pathlib import Path

import click
import orjson

from router.cli.common import config_option, no, settings_or_exit
from router.cli.report import time_options
from router.stores.labelfile import reading, rows
from router.stores.ports import StoreDown


@click.command("labels")
@config_option
@time_options
@click.option("--route", help="Only requests of this route.")
@click.option("--all", "everything", is_flag=True, help="Also requests that nobody has judged.")
def labels(config: Path | None, since: int | None, until: int | None, route: str | None, *, everything: bool) -> None:
    """Print the requests that were judged, oldest first, one JSON object a line; also while the server is running.

    Amounts are decimal strings, times are UTC. docs/labels.md tells each field.
    """
    path = settings_or_exit(config).labels_path
    if not path.exists():
        no(StoreDown(f"{path}: there are no labels yet; see `labels`, `explore` and `shadow` of a route"))
    try:
        with reading(path) as connection:
            for row in rows(connection, since, until, route, labelled=not everything):
                sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()
    except StoreDown as error:
        no(error)
