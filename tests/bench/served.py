"""A promise, kept through the real proxy: learnt, certified, served, and held against what `eval` had said.

    served.py DATA_DIR [--seed N] [--epsilon 0.05]

For three pairs of published per-prompt results (see quality.py) 40 % of the prompts teach a model, 30 % certify it and the rest
are sent through Farebox one by one. A vendor on loopback answers as recorded: right or wrong, with the tokens that are billed,
at the prices of their time. What the ledger charged and what the answers were worth are printed beside what the certificate
promised and what the same decisions come to on the labels themselves.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

from aiohttp import web

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from quality import PAIRS, rows  # noqa: E402
from support import KEY, serving  # noqa: E402

from router.quality import calibrate, train  # noqa: E402
from router.quality.certificate import save  # noqa: E402


async def vendor(answers):
    """A server that knows what each model said to each prompt: (score, prompt tokens, completion tokens)."""

    async def complete(request):
        body = await request.json()
        score, given, written = answers[body["model"], body["messages"][-1]["content"]]
        choice = {"index": 0, "message": {"role": "assistant", "content": f"worth {score}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written}
        return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


def priced(two):
    """The two models as a configuration has them."""
    told = {two.flagship: ("flagship", two.dear), two.cheap: ("cheap", two.low)}
    return {
        name: {"vendor": "recorded", "tier": tier, "price": {"currency": "USD", "input": price[0], "output": price[1]}}
        for name, (tier, price) in told.items()
    }


def tokens(row, two, name):
    """Prompt and completion tokens that give the row's cost at the prices of `two`."""
    price = two.dear if name == two.flagship else two.low
    given = sum(1 if ord(letter) > 0x2E80 else 0.25 for letter in row["prompt"])
    return max(1, round(given)), max(1, round((row["costs"][name] * 1e6 - price[0] * given) / price[1]))


async def one(folder, data, two, seed, epsilon):
    """Serve one pair's held-back prompts, and print what came of it."""
    every = list({row["prompt"]: row for row in rows(data, two)}.values())
    random.Random(seed).shuffle(every)
    first, second = len(every) * 2 // 5, len(every) * 7 // 10
    model = train(every[:first], flagship=two.flagship)
    scored = [model.score(row["prompt"]) for row in every[first:second]]
    lost = [row["scores"][two.flagship] - row["scores"][two.cheap] for row in every[first:second]]
    certificate = calibrate(
        [found[two.flagship] - found[two.cheap] for found in scored], lost, epsilon, 0.05, flagship=two.flagship,
        cheap=two.cheap, artefact=model.hash,
        costs=tuple([row["costs"][name] for row in every[first:second]] for name in (two.flagship, two.cheap)),
    )  # fmt: skip
    model.save(folder / "quality.model")
    save([certificate], folder / "quality.json")
    left = every[second:]
    answers = {
        (name, row["prompt"]): (row["scores"][name], *tokens(row, two, name))
        for row in left
        for name in (two.flagship, two.cheap)
    }
    runner, url = await vendor(answers)
    config = {
        "server": {"port": 0},
        "store": f"sqlite:///{folder}/farebox.db",
        "quality": {"model": str(folder / "quality.model"), "certificates": str(folder / "quality.json")},
        "vendors": {"recorded": {"dialect": "openai", "base_url": url, "api_key": "sk-none"}},
        "models": priced(two),
        "routes": {"auto": {"tiers": ["cheap", "flagship"], "quality": round(certificate.quality - 0.001, 3)}},
        "teams": {"search": {"keys": [{"name": "ci", "value": KEY}], "budgets": [{"limit": 10**6, "per": "total"}]}},
    }
    worth = 0.0
    async with serving(config, folder) as farebox:
        for row in left:
            asked = {"model": "auto", "messages": [{"role": "user", "content": row["prompt"]}]}
            async with farebox.post(json=asked) as reply:
                told = await reply.json()
                worth += float(told["choices"][0]["message"]["content"].removeprefix("worth "))
        ledger = await farebox.rows()
    await runner.cleanup()
    paid, dear = sum(row["cost"] for row in ledger), expected_bill(left, two, [two.flagship] * len(left))
    chosen = [certificate.decide(model.score(row["prompt"]), None) for row in left]
    same = sum(row["model"] == name for row, name in zip(ledger, chosen, strict=True))
    bill = expected_bill(left, two, chosen)
    best = sum(row["scores"][two.flagship] for row in left)
    worse = sum(row["scores"][two.flagship] - row["scores"][name] for row, name in zip(left, chosen, strict=True))
    print(
        f"{two.source:14} {two.cheap} for {two.flagship}: {first} taught, {second - first} certified, {len(left)} served\n"
        f"  decisions as the library's {same} of {len(left)}; bill {paid / 1e9:.6f} USD, by hand {bill / 1e9:.6f}\n"
        f"  promised: at most {epsilon:.2f} points lost; lost {(best - worth) / len(left):.4f} served, {worse / len(left):.4f} on the labels\n"
        f"  promised: {100 * certificate.saving:.1f} % saved ({100 * certificate.saving_low:.1f} to {100 * certificate.saving_high:.1f}); "
        f"saved {100 * (1 - paid / dear):.1f} %; quality {100 * worth / best:.1f} % of the flagship's", flush=True,
    )  # fmt: skip


def expected_bill(left, two, chosen):
    """Nano-units, each answer rounded up on its own."""
    total = 0
    for row, name in zip(left, chosen, strict=True):
        given, written = tokens(row, two, name)
        price = two.dear if name == two.flagship else two.low
        exact = given * Decimal(str(price[0])) * 1000 + written * Decimal(str(price[1])) * 1000
        total += -int(-exact // 1)
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epsilon", type=float, default=0.05)
    told = parser.parse_args()
    print(f"seed {told.seed}")
    for two in (PAIRS[0], PAIRS[3], PAIRS[4]):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(one(Path(folder), told.data, two, told.seed, told.epsilon))


if __name__ == "__main__":
    main()
