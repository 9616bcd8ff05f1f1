"""`farebox explain`: the decision for a request, made as the server would make it, without a server."""

import asyncio
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from router.cli.common import config_option, load_or_exit, missing, no, settings_or_exit
from router.cli.report import format_option, put
from router.core import jsonio
from router.core.catalog import Caller, Endpoint
from router.core.errors import RouterError
from router.core.money import show
from router.snapshot import Snapshot
from router.stores.ports import StoreDown

if TYPE_CHECKING:
    from router.app import Farebox

COLUMNS = ("place", "model", "vendor", "tier", "quality", "price", "expected_cost", "most_cost", "lost")


@click.command("explain")
@config_option
@click.option("--team", help="Who asks (default: the first team).")
@click.option(
    "--model", metavar="ROUTE", help="The route or model to ask for, whatever the body says (default: first)."
)
@click.option("--quality", type=click.FloatRange(0, 1), help="The share of flagship quality that is needed.")
@format_option("table", "json")
@click.argument("file", required=False, type=click.File("rb"))
def command(
    config: Path | None, team: str | None, model: str | None, quality: float | None, format_: str, file: Any
) -> None:
    """Say what would be chosen for a request, and why: every candidate with its price, what it would cost, or why it lost.

    FILE is a request body as for /v1/chat/completions (or /v1/completions, /v1/embeddings); what is not JSON is taken as
    the one user message. `-`, or nothing where standard input is no terminal, reads standard input. Nothing is sent.
    """
    if file is None and sys.stdin.isatty():
        raise click.UsageError("give a FILE with the request, or send it to standard input")
    text = (file or sys.stdin.buffer).read()
    mock_url = "http://mock.invalid" if settings_or_exit(config).mock else None
    snapshot = load_or_exit(config, mock_url)
    caller = _caller(snapshot, team)
    if model is None and not (allowed := snapshot.catalog.allowed(caller)):
        no(f"team {caller.team} may use no route and no model")
    endpoint, raw = _body(text, model, "" if model else allowed[0])
    headers = {} if quality is None else {"x-farebox-quality": str(quality)}
    try:
        told = asyncio.run(_explain(snapshot, caller, endpoint, raw, headers))
    except (RouterError, StoreDown) as error:
        code = error.code if isinstance(error, RouterError) else "store_down"
        if format_ == "json":
            print(json.dumps({"error": {"code": code, "message": str(error)}}, indent=2, ensure_ascii=False))
            sys.exit(1)
        no(f"{code}: {error}")
    if format_ == "json":
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _show(told)


def _caller(snapshot: Snapshot, team: str | None) -> Caller:
    if not snapshot.teams:
        no("the configuration has no teams")
    caller = snapshot.teams.get(team) if team is not None else next(iter(snapshot.teams.values()))
    if caller is None:
        no(f"no team is called {team!r}; configured are {', '.join(snapshot.teams)}")
    return caller


def _body(text: bytes, model: str | None, default: str) -> tuple[Endpoint, bytes]:
    """The endpoint that a body is for, and the body with the model that is meant."""
    try:
        body = jsonio.loads(text)
    except jsonio.NotJson as error:
        if text.lstrip().startswith(b"{"):
            print(f"warning: begins like JSON but is not ({error}): taken as the user message", file=sys.stderr)
        body = {"messages": [{"role": "user", "content": text.decode("utf-8", "replace").strip()}]}
    if not isinstance(body, dict):
        return "chat/completions", text  # refused by the reader, in its own words
    body["model"] = model or body.get("model") or default
    endpoint: Endpoint = "chat/completions"
    if "messages" not in body:
        endpoint = "embeddings" if "input" in body else "completions" if "prompt" in body else endpoint
        if "input" in body and (body.keys() & OF_A_RESPONSE or _has_items(body["input"])):
            endpoint = "responses"
    return endpoint, jsonio.dumps(body)


# Fields by which a request for a response is told from one for an embedding, which has an `input` too.
OF_A_RESPONSE = frozenset(
    {"instructions", "max_output_tokens", "previous_response_id", "reasoning", "text", "tools", "stream"}
)


def _has_items(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


async def _explain(
    snapshot: Snapshot, caller: Caller, endpoint: Endpoint, raw: bytes, headers: dict[str, str]
) -> dict[str, Any]:
    """Read, measure and decide as the server does, knowing what the ledger knows; writes and sends nothing."""
    from router.app import Farebox  # noqa: PLC0415 (what --help does not need)
    from router.clock import SystemClock  # noqa: PLC0415
    from router.core.explain import explain  # noqa: PLC0415
    from router.dialects import read  # noqa: PLC0415
    from router.pipeline import choose  # noqa: PLC0415

    farebox = Farebox(snapshot, SystemClock())
    try:
        await _remember(farebox, caller)
        chat = read(endpoint, raw, headers)
        route = snapshot.catalog.route(chat.asked, caller)
        decision, _ = await choose("explain", chat, route, caller, snapshot, farebox.services)
        states = farebox.accounts.look(caller.budgets, farebox.clock.now())
    finally:
        farebox.tokenizer.close()
        await farebox.ledger.stop()
    budgets = [
        {
            "budget": state.budget.describe(), "limit": show(state.budget.limit), "spent": show(state.settled),
            "currency": state.budget.currency,
        }
        for state in states
    ]  # fmt: skip
    return {"team": caller.team, **explain(decision, snapshot.rates.reporting), "budgets": budgets}


async def _remember(farebox: "Farebox", caller: Caller) -> None:
    """Habits, spend and free quotas, from the ledger if there is one. Raises `StoreDown`."""
    from router.stores.ledgerfile import connect, settled  # noqa: PLC0415

    place, now = farebox.ledger.place, farebox.clock.now()
    if missing(place):
        return
    farebox.habits.load(await farebox.ledger.totals())
    accounts = [(budget, budget.window(now)[0]) for budget in caller.budgets]
    with closing(connect(place)) as connection:
        spent = settled(connection, accounts, farebox.snapshot.rates.at(now))
    for budget, start in accounts:
        farebox.accounts.load(budget, start, spent[budget.account])
    await farebox.settlement.quotas.load(farebox.snapshot.catalog.models.values(), now, farebox.ledger)


def _show(told: dict[str, Any]) -> None:
    """For people."""
    prompt, need, currency = told["prompt"], told["quality_needed"], told["currency"]
    size = f"{prompt['tokens']} tokens" if prompt["exact"] else f"about {prompt['tokens']} tokens"
    print(f"route    {told['route']}, asked by team {told['team']}")
    print(f"chosen   {told['chosen']}: {told['reason']}")
    print(f"quality  {'nothing is asked' if need is None else f'{need:g} of the flagship is needed'}")
    print(
        f"prompt   {size}{' (exact)' if prompt['exact'] else ''}, {prompt['low']} to {prompt['high']} with what is hidden"
    )
    print(f"answer   {told['expected_output']} tokens expected, {told['output_cap']} at most")
    for budget in told["budgets"]:
        print(f"budget   {budget['budget']}: {budget['spent']} of {budget['limit']} {budget['currency']} spent")
    print(f"\nCosts are in {currency}; prices per million tokens, input/output or input/cache read/output.\n")
    rows = [tuple(candidate[column] for column in COLUMNS) for candidate in told["candidates"]]
    styles = ["bold green" if row[0] == 1 else "" if row[0] else "dim" for row in rows]
    put("table", COLUMNS, rows, ("place", "quality", "expected_cost", "most_cost"), styles)
