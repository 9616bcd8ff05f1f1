"""The command `farebox`. A command's module is imported when it is called, so that `serve` starts fast."""

from importlib import import_module
from typing import Any

import click

from router import __version__

# Command → (module under router.cli, the line that `farebox --help` shows).
COMMANDS = {
    "serve": ("serve", "Run the proxy."),
    "check": ("check", "Validate a configuration and its price books."),
    "mock": ("mock", "Run the mock vendors alone."),
    "explain": ("explain", "Say what would be chosen for a request, and why."),
    "prices": ("prices", "Look into the price book."),
    "report": ("report", "Spend, tokens and savings from the ledger."),
    "whatif": ("whatif", "Recorded traffic under other prices, another policy or other vendors."),
    "top": ("top", "Spend as it happens, in the terminal."),
    "ledger": ("ledger", "Export the ledger, prove it, hold invoices to it."),
    "keys": ("keys", "Create, list and revoke keys."),
    "quality": ("quality", "Learn what is good enough, measure it, certify it."),
    "import": ("importing", "Turn another gateway's configuration into one of Farebox's."),
    "migrate": ("migrate", "Bring the store to this version's schema."),
}


class Lazy(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"router.cli.{COMMANDS[name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="farebox")
def cli() -> None:
    """Farebox: a token-cost routing proxy for multi-vendor LLM APIs.

    Exit codes: 0 done, 1 the answer is no, 2 wrong usage.
    """


def main(*args: Any, **kwargs: Any) -> None:
    cli(*args, **kwargs)
