"""`farebox quality`."""

import click

from router.cli.labels import labels


@click.group("quality")
def command() -> None:
    """What live traffic tells of how good answers are."""


command.add_command(labels)
