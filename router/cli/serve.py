"""`farebox serve`."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import click

from router.cli.common import config_option, config_path, no
from router.settings import Settings, read
from router.snapshot import Snapshot, load
from router.stores.ports import StoreDown
from router.yamlfile import BadConfiguration


@click.command("serve")
@config_option
@click.option("--host", help="Address to bind (default: server.host).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to bind (default: server.port).")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve together (default: server.workers).")
@click.option("--takeover", is_flag=True, help="Take the port and the store from the process that has them.")
def command(config: Path | None, host: str | None, port: int | None, workers: int | None, *, takeover: bool) -> None:
    """Run the proxy. SIGHUP or a changed file reloads the configuration; SIGTERM drains."""
    path = config_path(config)
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 (absent on some platforms)

        uvloop.install()
    try:
        settings, _ = read(path)
        place = host or settings.server.host, settings.server.port if port is None else port
        count = workers or settings.server.workers
        if count > 1:
            from router.workers.start import serve  # noqa: PLC0415

            sys.exit(serve(path, settings, place, count, takeover=takeover, announce=_say))
        asyncio.run(_serve(path, settings, place, takeover=takeover))
    except BadConfiguration as error:
        no(error)
    except (StoreDown, OSError) as error:
        no(f"farebox cannot serve: {error}")


async def _serve(path: Path, settings: Settings, place: tuple[str, int], *, takeover: bool) -> None:
    from router import logs  # noqa: PLC0415 (imports are part of the time to readiness: the configuration is checked first)
    from router.app import Farebox  # noqa: PLC0415
    from router.clock import SystemClock  # noqa: PLC0415
    from router.handover import ask, chosen  # noqa: PLC0415
    from router.listening import bind, inherited  # noqa: PLC0415
    from router.server import run  # noqa: PLC0415

    if takeover and not isinstance(settings.place, Path):
        raise click.UsageError(
            "--takeover is for a store that one process has; with PostgreSQL start the new one beside the old, and end the old"
        )
    mock = mock_url = None
    if settings.mock is not None:
        from router.mock import MockVendors  # noqa: PLC0415 (only a demo needs it)

        mock = MockVendors(pace=settings.mock.pace)
        mock_url = await mock.start(port=settings.mock.port)
    try:
        snapshot = load(path, mock_url)
        logs.set_up()
        farebox = Farebox(snapshot, SystemClock(), mock_url)
        taken = await asyncio.to_thread(ask, farebox.ledger.path) if takeover else None
        sockets = inherited(os.environ, os.getpid()) or (chosen(taken, *place) if taken else []) or bind(*place)
        await run(farebox, sockets, lambda url: _say(url, farebox.snapshot, mock_url), taken, patient=takeover)
    finally:
        if mock is not None:
            await mock.stop()


def _say(url: str, snapshot: Snapshot, mock_url: str | None) -> None:
    """Where it is and what to try. A key is shown only where the configuration itself is a demo."""
    settings = snapshot.settings
    print(f"Farebox serves {snapshot.path} on {url}")
    print(f"  page     {url}/")
    print(f"  metrics  {url}/metrics")
    if mock_url:
        key = next(
            (key.value.get_secret_value() for team in settings.teams.values() for key in team.keys if key.value), "KEY"
        )
        route = next(iter(settings.routes), "auto")
        print(f"  vendors  {mock_url} (mock: no key, no network, no cost)")
        print(f"  key      {key}")
        print("\nTry it:\n")
        print(
            f"curl -s {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\"
        )
        print(
            f"""  -d '{{"model": "{route}", "messages": [{{"role": "user", "content": "Why do prices fall?"}}]}}'\n"""
        )
    sys.stdout.flush()
