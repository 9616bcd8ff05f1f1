"""A Farebox with a cheap and a flagship model at mock vendors, and what is needed to look at its labels."""

import pytest
from graded import ADMIN, features
from support import KEY

from router.stores.labelfile import reading, rows


@pytest.fixture
def config(tmp_path):
    """Call with changes of the route `auto` and of the team `search`."""

    def make(route=None, team=None, **more):
        return {
            "server": {"port": 0, "admin_key": ADMIN},
            "store": f"sqlite:///{tmp_path}/farebox.db",
            "mock": {"pace": 0},
            "vendors": {"openai": {}, "alibaba": {}},
            "exchange_rates": {"CNY": [{"from": "2024-01-01", "rate": "0.14"}]},
            "models": {
                "gpt-4o": {"vendor": "openai", "tier": "flagship", "quality": 1.0},
                "qwen-plus": {"vendor": "alibaba", "tier": "cheap", "quality": 0.85},
            },
            "routes": {"auto": {"tiers": ["cheap", "flagship"], **(route or {})}, "plain": {"tiers": ["cheap"]}},
            "teams": {
                "search": {"keys": [{"name": "ci", "value": KEY}], "models": ["*"], "budgets": [], **(team or {})},
                "other": {"keys": [{"name": "app", "value": "fb-key-of-another-team"}], "budgets": []},
            },
            **more,
        }

    return make


@pytest.fixture
def start(running):
    """Start a Farebox whose draws are given: `draws` for exploring, `sample` for shadow calls."""

    async def begin(settings, *, draw=0.999, sample=0.999, checker=None):
        on = await running(settings)
        labels = on.farebox.labels
        labels.store.features = features
        labels.chance = lambda: draw
        labels.shadow.chance = lambda: sample
        labels.shadow.checkers = lambda _: checker
        return on

    return begin


@pytest.fixture
def say():
    """Ask, and return (request id, model that answered, the whole reply)."""

    async def call(on, text="Why do prices fall? out=5", model="auto", *, key=KEY, path="/v1/chat/completions", **body):
        said = {"model": model, "messages": [{"role": "user", "content": text}], **body}
        async with on.post(path, key=key, json=said) as reply:
            raw = await reply.read()
            assert reply.status == 200, raw
            await on.rows()
            return reply.headers["x-farebox-request-id"], reply.headers["x-farebox-model"], raw

    return call


@pytest.fixture
def judge():
    """Give feedback: (status, JSON)."""

    async def call(on, told, key=ADMIN):
        async with on.post("/admin/v1/feedback", key=key, json=told) as reply:
            return reply.status, await reply.json()

    return call


@pytest.fixture
def kept():
    """What is in the label store, as it is exported."""

    async def call(on, *, labelled=False, **how):
        await on.farebox.labels.store.flush()
        path = on.farebox.labels.store.path
        if not path.exists():
            return []
        with reading(path) as connection:
            return list(rows(connection, labelled=labelled, **how))

    return call
