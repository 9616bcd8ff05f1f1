"""`farebox import`."""

import os
import sys
from pathlib import Path

import click
import yaml

from router.cli.common import config_option, no
from router.core.prices import Unpriced
from router.migration.litellm import Known, Listed, convert
from router.migration.written import text
from router.pricebook import now_micros, read_books


@click.group("import")
def command() -> None:
    """Turn another gateway's configuration into one of Farebox's."""


@command.command("litellm")
@config_option
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write it here instead of printing it; never over a file."
)
def litellm(config: Path | None, file: Path, output: Path | None) -> None:  # noqa: ARG001 (every command takes one)
    """Convert a config.yaml of LiteLLM's proxy; what could not be carried stands in comments, and on standard error."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        no(f"{file}: cannot be read: {error}")
    if not isinstance(data, dict) or not isinstance(data.get("model_list"), list):
        no(f"{file}: has no model_list, so it is no configuration of LiteLLM's")
    found = convert(data, _known())
    if not found.models:
        for where, what in found.notes:
            print(f"{where}: {what}", file=sys.stderr)
        no(f"{file}: no model could be carried")
    written = text(found, file.name)
    yaml.safe_load(written)
    if output is None:
        print(written, end="")
    else:
        _write(output, written)
    for where, what in found.notes:
        print(f"{where}: {what}", file=sys.stderr)
    lost = len(data["model_list"]) - sum(len(route["models"]) for route in found.routes.values())
    print(
        f"{len(found.models)} models, {len(found.routes)} routes, {len(found.notes)} notes"
        + (f" on what differs; {lost} entries of model_list are no model of their own" if lost > 0 else ""),
        file=sys.stderr,
    )


def _known() -> Known:
    """What the book that ships has at this instant."""
    book, now = read_books([((), "builtin")], None), now_micros()

    def known(vendor: str, name: str, currency: str) -> Listed:
        model = book.find(vendor, name)
        timeline = None if model is None else model.timelines.get(currency)
        if model is None or timeline is None:
            return Listed(None, None)
        try:
            told = timeline.at(now).listed(now).told()
        except Unpriced:
            return Listed(None, str(model.tier) if model.tier else None)
        names = {"cache_write_5m": "cache_write"}
        wanted = ("input", "output", "cache_read", "cache_write_5m")
        price = {names.get(key, key): value for key in wanted if (value := told.get(key)) is not None}
        return Listed(price, str(model.tier) if model.tier else None)

    return known


def _write(output: Path, written: str) -> None:
    """It may hold keys: for its owner alone."""
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(written)
    except OSError as error:
        no(f"{output}: {error.strerror}")
