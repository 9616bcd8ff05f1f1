"""`farebox mock`."""

import asyncio
import contextlib

import click


@click.command("mock")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="Port to bind.")
@click.option(
    "--pace", default=1.0, show_default=True, type=click.FloatRange(0), help="Speed of answers: 0 is at once."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the answers.")
@click.option("--config", metavar="FILE", help="Accepted as by every command; mock vendors need none.")
def command(host: str, port: int, pace: float, seed: int, config: str | None) -> None:  # noqa: ARG001 (see its help)
    """Run the mock vendors alone, each on its own wire under /VENDOR/v1. How to steer them is on their page, at /."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(host, port, pace, seed))


async def _run(host: str, port: int, pace: float, seed: int) -> None:
    from router.mock import MockVendors  # noqa: PLC0415 (what --help does not need)

    mock = MockVendors(seed=seed, pace=pace)
    url = await mock.start(host, port)
    print(f"mock vendors on {url}; try {url}/openai/v1/models, and {url}/ for how to steer them", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await mock.stop()
