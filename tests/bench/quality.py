"""The figures of docs/quality.md, from a folder of labels that is not part of the project.

    quality.py DATA_DIR [--only pairs,mmlu,promise,watch,speed,million] [--seed N]

DATA_DIR holds gzipped JSON lines, one file per source: `prompt`, `scores{model}`, and where known `out_tokens{model}`. Costs
are made of them with the list prices below; a prompt is a quarter of a token per character, one per Chinese character.
Every figure is of requests that no model was fitted or chosen on.
"""

import argparse
import gzip
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from router.quality import CannotCertify, Model, Request, Watch, calibrate
from router.quality.curve import curve
from router.quality.evaluation import figures, score_labels
from router.quality.training import crossed, train


class Two(NamedTuple):
    """A flagship and a cheap model, with prices per million tokens (input, output) in their time."""

    source: str
    flagship: str
    cheap: str
    dear: tuple[float, float]
    low: tuple[float, float]


PAIRS = [
    Two("routellm_mmlu", "gpt-4-1106-preview", "mixtral-8x7b-instruct", (10, 30), (0.6, 0.6)),
    Two("routellm_gsm8k", "gpt-4-1106-preview", "mixtral-8x7b-instruct", (10, 30), (0.6, 0.6)),
    Two("gaokao", "gpt-4-0314", "gpt-3.5-turbo", (30, 60), (0.5, 1.5)),
    Two("lawbench", "gpt-4-0613", "GPT-3.5-turbo-0613", (30, 60), (0.5, 1.5)),
    Two("mmlu_pro", "gpt-4o-2024-05-13", "gemini-1.5-flash-002", (5, 15), (0.075, 0.3)),
    Two("bfcl_v1", "gpt-4-turbo-2024-04-09", "gpt-3.5-turbo-0125", (10, 30), (0.5, 1.5)),
    Two("llmrouter_open", "llama-3.1-nemotron-51b-instruct", "qwen2.5-7b-instruct", (0.9, 0.9), (0.2, 0.2)),
    Two("zeroeval_math_l5", "gpt-4o-2024-05-13", "gpt-4o-mini-2024-07-18", (5, 15), (0.15, 0.6)),
    Two("zeroeval_zebra_grid", "gpt-4o-2024-05-13", "gpt-4o-mini-2024-07-18", (5, 15), (0.15, 0.6)),
]
OUTPUT = 200  # tokens, where the source does not tell
EPSILONS, SIZES, RUNS = (0.05, 0.10), (300, 1000, 3000), 600


def rows(folder, two, *, route=False):
    """A source's rows for two models, with costs."""
    with gzip.open(folder / f"{two.source}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            scores = {name: row["scores"].get(name) for name in (two.flagship, two.cheap)}
            if None in scores.values():
                continue
            tokens = sum(1 if ord(letter) > 0x2E80 else 0.25 for letter in row["prompt"])
            usual = 1 if "mmlu" in two.source else OUTPUT
            out = {name: (row.get("out_tokens") or {}).get(name) or usual for name in scores}
            costs = {
                name: (price[0] * tokens + price[1] * out[name]) / 1e6
                for name, price in ((two.flagship, two.dear), (two.cheap, two.low))
            }
            asked = {"prompt": row["prompt"], "scores": scores, "costs": costs, "lang": row["lang"]}
            asked |= {"tools": row["tools"]} if row.get("tools") else {}
            yield asked | ({"route": row["subset"]} if route else {})


def pairs(folder, seed):
    """Cross-validation: 5 folds, strengths chosen within the training folds."""
    print(f"\n## Pairs, 5 folds, seed {seed}: APGR / saved at 95 % / at 99 %")
    names = ("learnt", "random mix", "length rule", "oracle")
    means = {name: [] for name in names}
    for two in PAIRS:
        scored, _ = crossed(rows(folder, two), flagship=two.flagship, seed=seed)
        told = figures(scored, two.flagship, [two.cheap], seed, "").pairs[0].as_json()
        line = [f"{two.source:20} n {told['n']:5} gap {100 * told['gap']:4.1f}"]
        for name in names:
            got = told["apgr"][name], told["saved"]["0.95"][name], told["saved"]["0.99"][name]
            means[name].append(got)
            line.append(f"{name} {got[0]:.3f} {100 * got[1]:4.1f} {100 * got[2]:4.1f}")
        low, high = told["intervals"]["0.95"]
        print(" | ".join(line), f"| learnt's 95 % interval at 95 %: {100 * low:.1f} to {100 * high:.1f}", flush=True)
    for name, found in means.items():
        apgr, at95, at99 = np.mean(found, axis=0)
        print(f"mean {name:12} APGR {apgr:.3f}  saved at 95 % {100 * at95:.1f} %  at 99 % {100 * at99:.1f} %")


def mmlu(folder, seed):
    """1,500 labels, the rest measured; 8 draws."""
    two = PAIRS[0]
    every = list(rows(folder, two))
    found = []
    for draw in range(8):
        order = np.random.default_rng(seed + draw).permutation(len(every))
        model = train([every[at] for at in order[:1500]], flagship=two.flagship, seed=seed + draw)
        scored = score_labels(model, [every[at] for at in order[1500:]])
        pair, need, _, _ = scored.pair(two.flagship, two.cheap)
        points = curve(need, pair)
        found.append((points.apgr(), points.cpt(0.5), points.cpt(0.8), points.saved_at(0.95)))
    apgr, cpt50, cpt80, saved = np.mean(found, axis=0)
    print(f"\n## RouteLLM's MMLU rows, 1,500 labels, 8 draws from seed {seed}")
    print(f"APGR {apgr:.3f} ({min(f[0] for f in found):.3f} to {max(f[0] for f in found):.3f}), "
          f"CPT50 {100 * cpt50:.1f} %, CPT80 {100 * cpt80:.1f} %, saved at 95 % {100 * saved:.1f} %", flush=True)  # fmt: skip


def population(folder, two, seed):
    """A source as a population: needs out of fold, losses, costs."""
    scored, _ = crossed(rows(folder, two), flagship=two.flagship, seed=seed)
    pair, need, keep, _ = scored.pair(two.flagship, two.cheap)
    return pair, need, keep


def promise(folder, seed):
    """Resamplings judged against the whole population."""
    print(f"\n## The promise, {RUNS} resamplings each, delta 0.05, seed {seed}")
    for two in (PAIRS[0], PAIRS[3], PAIRS[4]):
        pair, need, _ = population(folder, two, seed)
        lost, whole = pair.flagship - pair.cheap, pair.flagship_cost.mean()
        order = np.argsort(need, kind="stable")
        sorted_need, size = need[order], len(need)
        loss_at = np.concatenate(([0], np.cumsum(lost[order]))) / size
        saved_at = np.concatenate(([0], np.cumsum((pair.flagship_cost - pair.cheap_cost)[order]))) / size / whole
        for epsilon in EPSILONS:
            hindsight = saved_at[loss_at <= epsilon].max()
            for n in SIZES:
                rng = np.random.default_rng(seed + n)
                broken, naive_broken, saved, refused = 0, 0, [], 0
                for _ in range(RUNS):
                    take = rng.integers(0, size, n)
                    ours, naive = -1, naive_limit(need[take], lost[take], epsilon)
                    try:
                        made = calibrate(need[take], lost[take], epsilon, 0.05,
                                         costs=(pair.flagship_cost[take], pair.cheap_cost[take]))  # fmt: skip
                        ours = made.threshold
                    except CannotCertify:
                        refused += 1
                        ours = -np.inf
                    at = np.searchsorted(sorted_need, ours, "right")
                    broken += loss_at[at] > epsilon
                    saved.append(saved_at[at])
                    naive_broken += loss_at[np.searchsorted(sorted_need, naive, "right")] > epsilon
                print(
                    f"{two.source:14} n {n:5} eps {epsilon:.2f}: broken {100 * broken / RUNS:4.1f} %, refused {100 * refused / RUNS:5.1f} %, "
                    f"saved {100 * np.mean(saved):4.1f} % of {100 * hindsight:4.1f} % in hindsight ({100 * np.mean(saved) / hindsight:.0f} %); "
                    f"naive threshold broken {100 * naive_broken / RUNS:.1f} %", flush=True,
                )  # fmt: skip


def naive_limit(need, lost, epsilon):
    order = np.argsort(need, kind="stable")
    good = np.flatnonzero(np.cumsum(lost[order]) / len(need) <= epsilon)
    return need[order[good[-1]]] if len(good) else -np.inf


def watch(folder, seed):
    """The mix of subjects switches to those that neither model nor certificate has seen."""
    two, epsilon, delta, n, steady, after = PAIRS[3], 0.05, 0.05, 1000, 2000, 3000
    every = list({row["prompt"]: row for row in rows(folder, two, route=True)}.values())
    gaps = {}
    for row in every:
        gaps.setdefault(row.pop("route"), []).append(row)
    dearest = sorted(gaps, key=lambda name: statistics.mean(gap(row, two) for row in gaps[name]))[-3:]
    seen = [row for name, part in gaps.items() if name not in dearest for row in part]
    unseen = [row for name in dearest for row in gaps[name]]
    scored, _ = crossed(seen, flagship=two.flagship, seed=seed)
    pair, need, _, _ = scored.pair(two.flagship, two.cheap)
    model = train(seen, flagship=two.flagship, seed=seed)
    told = [model.score(row["prompt"]) for row in unseen]
    need = np.concatenate((need, [one[two.flagship] - one[two.cheap] for one in told]))
    lost = np.concatenate((pair.flagship - pair.cheap, [gap(row, two) for row in unseen]))
    print(f"\n## The watch, {RUNS} runs of {steady} labels then {after} of {len(dearest)} subjects that were not seen, "
          f"eps {epsilon}, delta {delta}, seed {seed}")  # fmt: skip
    easy, other = np.arange(len(pair.flagship)), np.arange(len(pair.flagship), len(need))
    rng = np.random.default_rng(seed)
    alarms, found, missed, kept, losses = 0, [], 0, 0, []
    for _ in range(RUNS):
        take = rng.choice(easy, n)
        made = calibrate(need[take], lost[take], epsilon, delta)
        served = np.where(need <= made.threshold, lost, 0.0)
        looking = Watch(epsilon, delta)
        losses.append(float(served[other].mean()))
        for value in served[rng.choice(easy, steady)]:
            looking.observe(float(value))
        if looking.broken:
            alarms += 1
            continue
        if losses[-1] <= epsilon:  # nothing is broken, so nothing is to be seen
            kept += 1
            continue
        for value in served[rng.choice(other, after)]:
            if looking.observe(float(value)):
                found.append(looking.labels - steady)
                break
        else:
            missed += 1
    exact, level = 0, epsilon  # losses whose mean is epsilon itself: the worst that the promise allows
    for _ in range(RUNS):
        looking = Watch(epsilon, delta)
        for value in rng.random(steady) < level:
            looking.observe(float(value))
        exact += looking.broken
    print(
        f"without a switch: {100 * alarms / RUNS:.1f} % false alarms; at a mean loss of epsilon itself {100 * exact / RUNS:.1f} %"
    )
    after_loss = f"mean loss {np.quantile(losses, 0.05):.3f} to {np.quantile(losses, 0.95):.3f} in nine runs of ten"
    if found:
        print(f"after it ({after_loss}; {100 * kept / RUNS:.1f} % within the promise all the same): back at the flagship after {np.median(found):.0f} labels (median), "
              f"{np.quantile(found, 0.95):.0f} (95 %), {100 * missed / RUNS:.1f} % not within {after}", flush=True)  # fmt: skip


def gap(row, two):
    return row["scores"][two.flagship] - row["scores"][two.cheap]


def speed(folder, seed):
    """Milliseconds per request, one at a time."""
    two = PAIRS[4]
    every = list(rows(folder, two))
    model = Model.parse(train(every[:1500], seed=seed).dump())
    print("\n## A score, milliseconds")
    text = " ".join(row["prompt"] for row in every[:400])
    chinese = "".join(row["prompt"] for row in list(rows(folder, PAIRS[3]))[:400])
    for name, corpus in (("English", text), ("Chinese", chinese)):
        for size in (200, 2000, 20000):
            asked = [Request(corpus[at * 97 : at * 97 + size]) for at in range(500)]
            took = []
            for turn in range(4000):
                before = time.perf_counter()
                model.score(asked[turn % 500])
                took.append(time.perf_counter() - before)
            p50, p99 = np.percentile(took[500:], [50, 99]) * 1e3
            print(f"{name} {size:6} characters: p50 {p50:.3f}  p99 {p99:.3f}", flush=True)


def million(_folder, seed):
    """A million made-up requests, each with labels of two models."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(5000)]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "labels.jsonl")
        with path.open("w") as file:
            for number in range(1_000_000):
                kind = number % 10
                chosen = rng.integers(kind * 400, kind * 400 + 1400, 40)
                easy = rng.random() < 0.3 + kind / 15
                row = {
                    "prompt": " ".join(words[at] for at in chosen),
                    "scores": {"big": int(rng.random() < 0.9), "small": int(easy)},
                }
                file.write(json.dumps(row) + "\n")
        before = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "router", "quality", "train", path, "--out", Path(name, "out"), "--seed", str(seed)], check=True
        )  # fmt: skip
        took = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"\n## A million requests of 280 characters, two models: {took:.0f} s, {peak:.2f} GiB at the most", flush=True
    )


PARTS = {"pairs": pairs, "mmlu": mmlu, "promise": promise, "watch": watch, "speed": speed, "million": million}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for part in asked.only.split(","):
        PARTS[part](asked.data, asked.seed)


if __name__ == "__main__":
    main()
