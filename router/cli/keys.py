"""`farebox keys`: a key is shown once and only its hash is stored."""

import re
import secrets
import sys
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import click

from router.cli.common import config_option, missing, no, settings_or_exit
from router.cli.report import format_option, instant, put, reading
from router.core.limits import micros, moment
from router.pricebook import now_micros
from router.settings import KeySettings, Settings, hash_key
from router.stores.ledgerfile import add_key, migrate, read_keys, revoke_key
from router.stores.ports import StoredKey, StoreDown

NAME = re.compile(r"[^\s|,/]{1,128}")
COLUMNS = ("id", "team", "name", "status", "from", "created", "expires", "hash")


@click.group("keys")
def command() -> None:
    """Create, list and revoke keys. A running server notices within seconds (`server.reload_every`)."""


@command.command("create")
@config_option
@click.option("--team", required=True, help="Whose key it is; a team of the configuration.")
@click.option("--name", required=True, help="What it is called in the ledger and in reports.")
@click.option("--expires", type=instant, metavar="DATE", help="From this date (UTC) or instant on it is refused.")
def create(config: Path | None, team: str, name: str, expires: int | None) -> None:
    """Make a key. It is printed once, alone on standard output; the store keeps its SHA-256."""
    settings, now = settings_or_exit(config), now_micros()
    if not NAME.fullmatch(name):
        raise click.BadParameter("1 to 128 characters without blanks, commas, slashes and |", param_hint="--name")
    if expires is not None and expires <= now:
        raise click.BadParameter("is in the past", param_hint="--expires")
    if team not in settings.teams:
        no(f"no team is called {team!r}; configured are {', '.join(settings.teams) or 'none'}")
    place = settings.place
    try:
        if missing(place):
            migrate(place)
        if any(key["team"] == team and key["name"] == name and key["status"] == "valid" for key in _known(config, now)):
            no(f"team {team} has a key {name!r} already; revoke it first, or take another name")
        value = "fb-" + secrets.token_hex(20)
        key = StoredKey(f"key-{secrets.token_hex(6)}", team, name, hash_key(value), now, expires)
        add_key(place, key)
    except StoreDown as error:
        no(error)
    print(f"{key.id}: key {name!r} of team {team}; this is the only time that it is shown", file=sys.stderr)
    print(value)


@command.command("list")
@config_option
@format_option("table", "json")
def show(config: Path | None, format_: str) -> None:
    """List the keys in the store and those in the configuration, which have no id. Never shows a key or its whole hash."""
    rows = [tuple(key[column] for column in COLUMNS) for key in _known(config, now_micros())]
    if not rows and format_ == "table":
        print("there are no keys")
        return
    put(format_, COLUMNS, rows)


@command.command("revoke")
@config_option
@click.argument("key_id", metavar="ID")
def revoke(config: Path | None, key_id: str) -> None:
    """Revoke a key by its id, for good. A key of the configuration is revoked by taking it out of the file."""
    place = settings_or_exit(config).place
    found = [key for key in _known(config, now_micros()) if key["id"] == key_id and key_id]
    if not found:
        no(f"no key in {place} has the id {key_id!r}; `farebox keys list` shows them")
    try:
        done = revoke_key(place, key_id, now_micros())
    except StoreDown as error:
        no(error)
    if not done:
        no(f"{key_id} is {found[0]['status']} already")
    print(f"{key_id}: key {found[0]['name']!r} of team {found[0]['team']} is revoked")


def _known(config: Path | None, now: int) -> list[dict[str, Any]]:
    """Every key, as it is listed."""
    settings = settings_or_exit(config)
    stored: list[StoredKey] = []
    try:
        there = not missing(settings.place)
    except StoreDown as error:
        no(error)
    if there:
        with reading(config) as connection:
            stored = read_keys(connection)
    listed = [_stored(key, settings, now) for key in stored]
    return listed + [_written(name, key, now) for name, team in settings.teams.items() for key in team.keys]


def _stored(key: StoredKey, settings: Settings, now: int) -> dict[str, Any]:
    status = "revoked" if key.revoked is not None else _status(key.expires, now)
    if status == "valid" and key.team not in settings.teams:
        status = "no such team"
    return {
        "id": key.id, "team": key.team, "name": key.name, "status": status, "from": "store",
        "created": _day(key.created), "expires": _day(key.expires), "hash": key.sha256[:8],
    }  # fmt: skip


def _written(team: str, key: KeySettings, now: int) -> dict[str, Any]:
    expires = _end(key.expires)
    return {
        "id": None, "team": team, "name": key.name, "status": _status(expires, now), "from": "configuration",
        "created": None, "expires": _day(expires), "hash": key.digest[:8],
    }  # fmt: skip


def _status(expires: int | None, now: int) -> str:
    return "expired" if expires is not None and now >= expires else "valid"


def _end(when: date | datetime | None) -> int | None:
    if when is None:
        return None
    at = when if isinstance(when, datetime) else datetime.combine(when, time(), UTC)
    return micros(at if at.tzinfo else at.replace(tzinfo=UTC))


def _day(at: int | None) -> str | None:
    return None if at is None else moment(at).isoformat(timespec="seconds").replace("+00:00", "Z")
