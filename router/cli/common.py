"""What the commands share."""

import sys
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from router.resources import config_folder
from router.settings import Settings, read
from router.snapshot import Snapshot, load
from router.stores.ledgerfile import exists
from router.stores.place import NO_LEDGER, Place
from router.stores.ports import StoreDown
from router.yamlfile import BadConfiguration

C = TypeVar("C")

PLACES = ("farebox.yaml", "config/farebox.yaml")


def config_option(command: C) -> C:
    """`--config FILE`, which every command takes."""
    option: Any = click.option(
        "--config",
        "config",
        envvar="FAREBOX_CONFIG",
        type=click.Path(path_type=Path),
        help="The configuration (default: $FAREBOX_CONFIG, ./farebox.yaml, or the demo that ships).",
    )
    decorated: C = option(command)
    return decorated


def config_path(given: Path | None) -> Path:
    """The configuration that is meant."""
    if given is not None:
        return given
    found = [Path(place) for place in PLACES if Path(place).is_file()]
    return found[0] if found else config_folder() / "demo.yaml"


def no(message: object) -> NoReturn:
    """The answer is no: exit 1 with the reason on standard error."""
    print(message, file=sys.stderr)
    sys.exit(1)


def load_or_exit(given: Path | None, mock_url: str | None = None) -> Snapshot:
    """The compiled configuration, or every problem and exit 1."""
    try:
        return load(config_path(given), mock_url)
    except BadConfiguration as error:
        no(error)


def settings_or_exit(given: Path | None) -> Settings:
    """The settings alone, for commands that only need the store."""
    try:
        return read(config_path(given))[0]
    except BadConfiguration as error:
        no(error)


def store_of(given: Path | None) -> Place:
    """The configured store; where it is a file it must exist."""
    place = settings_or_exit(given).place
    try:
        why = missing(place)
    except StoreDown as error:
        no(error)
    return no(why) if why else place


def missing(place: Place) -> str:
    """That there is no store; "" if there is one. Raises `StoreDown`."""
    return "" if exists(place) else f"{place}: {NO_LEDGER}"
