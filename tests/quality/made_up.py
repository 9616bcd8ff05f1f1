"""Made-up traffic: two kinds of requests, one that the cheap model answers and one that it seldom does."""

import random

EASY = ["translate this line", "spell the word", "what day is it", "say hello to", "名字怎么写", "把这句话翻译成英文"]
HARD = ["prove the theorem of", "find the integral of", "derive the equation for", "证明这个定理", "求解微分方程"]
THINGS = ["apples", "rivers", "seven", "clouds", "a train", "水果", "history", "a matrix", "music", "银行"]


def rows(count, seed=1, hard=0.4, *, route=False):
    """Labels of two models with costs; the flagship is right at 95 %, the cheap one at 90 % or 25 %."""
    rng = random.Random(seed)
    for number in range(count):
        tough = rng.random() < hard
        prompt = f"{rng.choice(HARD if tough else EASY)} {rng.choice(THINGS)} and {rng.choice(THINGS)} {number}"
        scores = {"big": int(rng.random() < 0.95), "small": int(rng.random() < (0.25 if tough else 0.9))}
        row = {"prompt": prompt, "scores": scores, "costs": {"big": 0.01, "small": 0.001}}
        yield row | ({"route": "hard" if tough else "easy"} if route else {})
