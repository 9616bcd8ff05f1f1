"""How long the event loop stands still while a long prompt is counted: a ticker on the loop beside the counting.

gaps.py ROUNDS      prints JSON: text → milliseconds, the median over rounds of each round's largest gap
"""

import asyncio
import gc
import json
import statistics
import sys
import time

import uvloop
from texts import BIG

from router.core.tokens import chat_prompt
from router.tokenizer import Tokenizer

TICK_S = 0.001


async def ticker(gaps):
    last = time.perf_counter()
    while True:
        await asyncio.sleep(TICK_S)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now


async def beside(work):
    """(the largest gap in ms while `work` runs, its result)."""
    gaps = []
    tick = asyncio.create_task(ticker(gaps))
    await asyncio.sleep(0.02)
    gaps.clear()
    result = await work
    await asyncio.sleep(0.005)
    tick.cancel()
    return max(gaps) * 1000, result


async def main(rounds):
    tokenizer = Tokenizer()
    await tokenizer.warm(["o200k_base"])
    gc.collect()
    gc.freeze()
    found = {"idle": [], **{name: [] for name in BIG}, **{f"{name}_took": [] for name in BIG}}
    tokens = {}
    for _ in range(rounds):
        found["idle"].append((await beside(asyncio.sleep(0.5)))[0])
        for name, text in BIG.items():
            prompt = chat_prompt([{"role": "user", "content": text}], [], None, json.dumps)
            began = time.perf_counter()
            gap, measure = await beside(tokenizer.measure(prompt, ["o200k_base"]))
            found[name].append(gap)
            found[f"{name}_took"].append((time.perf_counter() - began) * 1000)
            tokens[name] = measure.counts["o200k_base"]
    tokenizer.close()
    medians = {name: round(statistics.median(values), 2) for name, values in found.items()}
    print(
        json.dumps(
            {**medians, "worst": {name: round(max(found[name]), 2) for name in ("idle", *BIG)}, "tokens": tokens}
        )
    )


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(int(sys.argv[1])))
