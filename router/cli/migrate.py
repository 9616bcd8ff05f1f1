"""`farebox migrate`."""

from pathlib import Path

import click

from router.cli.common import config_option, no, settings_or_exit
from router.stores.ledgerfile import migrate
from router.stores.ports import StoreDown


@click.command("migrate")
@config_option
def command(config: Path | None) -> None:
    """Bring the store to this version's schema; makes it if there is none. `farebox serve` does so by itself."""
    place = settings_or_exit(config).place
    try:
        before, after = migrate(place)
    except StoreDown as error:
        no(error)
    print(f"{place}: schema {after}" + (" already" if before == after else f", was {before or 'empty'}"))
