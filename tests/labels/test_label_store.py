"""The file of labels: what is in it, how long and how much, and that nobody waits for it."""

import contextlib
import sqlite3
import stat
import threading
from dataclasses import replace

import pytest
from fakes import PushedClock
from graded import features
from hypothesis import given
from hypothesis import strategies as st
from support import KEY

from router.core import jsonio
from router.core.labels import Asked, Label
from router.dialects import read
from router.stores import labels as stores
from router.stores.labelfile import packed, reading, rows, size, unpacked
from router.stores.labels import Keep, LabelStore
from router.stores.ports import StoreDown

DAY_S = 86_400
SECRET = "the-words-of-a-prompt-that-nobody-may-find"


def chat(text="why"):
    return read(
        "chat/completions", jsonio.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}), {}
    )


def asked(number, at, team="search", **more):
    told = {"model": "small", "tier": "cheap", "cost": 300, "size": 3, "shape": {"turns": 1}, **more}
    return Asked(f"fb-{number:04}", at, team, "auto", **told)


def label(number, score=0.5, source="human", model="small", tier="cheap", at=0):
    return Label(f"fb-{number:04}", model, tier, source, score, at, "admin")


@pytest.fixture
def clock():
    return PushedClock()


@pytest.fixture
async def store(tmp_path, clock):
    store = LabelStore(tmp_path / "some" / "labels.db", clock.now, features)
    yield store
    await store.stop()


def found(store, **how):
    with reading(store.path) as connection:
        return {row["request_id"]: row for row in rows(connection, labelled=False, **how)}


@given(st.binary(max_size=4000))
def test_features_are_the_same_after_they_were_packed(features):
    assert unpacked(packed(features)) == features


def test_features_take_about_a_third_of_their_room():
    features = b"".join(
        place.to_bytes(4, "little") for place in sorted({(i * 2654435761) % 2**18 for i in range(9000)})
    )
    assert len(packed(features)) < 0.36 * len(features)


async def test_the_file_is_made_when_it_is_needed_and_is_for_its_user_alone(store, clock):
    assert not store.path.exists()
    store.offer(asked(1, clock.now()), chat())
    await store.flush()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert found(store).keys() == {"fb-0001"}


async def test_what_is_too_old_goes_and_its_labels_with_it(store, clock):
    store.keep = Keep(days=10)
    store.offer(asked(1, clock.now()), chat())
    await store.label([label(1)])
    clock.push(6 * DAY_S)
    store.offer(asked(2, clock.now()), chat())
    clock.push(5 * DAY_S)
    await store.prune()
    assert found(store).keys() == {"fb-0002"}
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        assert [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("labels", "costs")] == [
            0,
            1,
        ]


async def test_what_is_too_old_goes_by_itself_while_others_come(store, clock):
    store.keep = Keep(days=1)
    store.offer(asked(1, clock.now()), chat())
    await store.flush()
    clock.push(2 * DAY_S)
    store.offer(asked(2, clock.now()), chat())
    await store.flush()
    await store.flush()  # it is after the batch that it is looked for
    assert found(store).keys() == {"fb-0002"}


async def test_of_what_is_too_much_the_oldest_goes_and_what_is_labelled_last(store, clock, monkeypatch):
    monkeypatch.setattr("router.stores.labelfile.PAGE", 20)
    store.features = lambda _: (bytes(range(256)) * 64, [])
    store.keep = Keep(max_bytes=2**20, prompt_days={"search": 9})
    for number in range(600):
        store.offer(asked(number, clock.now() + number), chat("x" * 4000))
        if not number % 100:
            await store.label([label(number)])
    await store.prune()
    left = found(store)
    with reading(store.path) as connection:
        assert size(connection) <= 2**20
    assert store.path.stat().st_size <= 2**20 + 2**16
    assert {f"fb-{number:04}" for number in range(0, 600, 100)} < left.keys() and 60 < len(left) < 300
    unlabelled = sorted(name for name, row in left.items() if not row["labels"])
    assert unlabelled[-1] == "fb-0599" and unlabelled[0] > "fb-0300"


async def test_words_are_only_kept_of_a_team_that_says_so_for_as_long_as_it_says(store, clock):
    store.keep = Keep(prompt_days={"search": 3, "other": 30})
    for number, team in enumerate(("search", "other", "third")):
        store.offer(asked(number, clock.now(), team), chat(f"words of {team}"))
    await store.flush()
    assert {row["team"]: row.get("prompt") for row in found(store).values()} == {
        "search": "words of search", "other": "words of other", "third": None,
    }  # fmt: skip
    clock.push(4 * DAY_S)
    await store.prune()
    assert [row["team"] for row in found(store).values() if "prompt" in row] == ["other"]
    store.keep = Keep()
    await store.prune()
    assert [row for row in found(store).values() if "prompt" in row] == [] and len(found(store)) == 3


async def test_what_was_deleted_is_not_in_the_file_any_more(store, clock):
    store.keep = Keep(prompt_days={"search": 3})
    store.offer(asked(1, clock.now()), chat(SECRET))
    await store.flush()
    assert SECRET.encode() in b"".join(file.read_bytes() for file in store.path.parent.iterdir())
    clock.push(4 * DAY_S)
    await store.prune()
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in store.path.parent.iterdir())


async def test_a_full_queue_drops_requests_counts_them_and_refuses_labels(store, clock, monkeypatch):
    monkeypatch.setattr(stores, "WAITING", 5)
    gate, begun = threading.Event(), threading.Event()

    def slow(_):
        begun.set()
        gate.wait(10)
        return b"", []

    store.features = slow
    store.offer(asked(0, clock.now()), chat())
    assert begun.wait(10)  # the writer has taken it: five more fit
    kept = [store.offer(asked(number, clock.now()), chat()) for number in range(1, 9)]
    assert kept == [True] * 5 + [False] * 3 and store.dropped == {"auto": 3}
    with pytest.raises(StoreDown):
        await store.label([label(1)])
    gate.set()
    while store._waiting:
        await stores.asyncio.sleep(0)
    await store.flush()
    assert len(found(store)) == 6


async def test_prompts_that_wait_are_bounded_in_bytes_too(store, clock, monkeypatch):
    monkeypatch.setattr(stores, "WAITING_BYTES", 100)
    assert not store.offer(asked(1, clock.now()), chat("x" * 101))
    assert store.dropped == {"auto": 1}


async def test_a_request_whose_features_cannot_be_made_takes_no_other_with_it(store, clock):
    def picky(said):
        if said["messages"][0]["content"] == "bad":
            raise ValueError(said)
        return b"", []

    store.features = picky
    for number, text in enumerate(("good", "bad", "fine")):
        store.offer(asked(number, clock.now()), chat(text))
    await store.flush()
    assert found(store).keys() == {"fb-0000", "fb-0002"} and store.dropped == {"auto": 1}


async def test_a_file_that_cannot_be_written_is_told_to_who_labels_and_used_again_later(store, clock):
    store.path.parent.mkdir()
    store.path.mkdir()
    store.offer(asked(1, clock.now()), chat())
    with pytest.raises(StoreDown):
        await store.label([label(1)])
    assert store.dropped == {"auto": 1}
    store.path.rmdir()
    await store.label([label(1)], [asked(1, clock.now(), shape=None)])
    assert found(store)["fb-0001"]["scores"] == {"small": 0.5}


async def test_what_the_ledger_knows_never_replaces_what_was_kept_and_is_completed_by_it(store, clock):
    bare, whole = asked(1, clock.now(), shape=None, size=None), asked(1, clock.now(), propensity=0.05, explored=True)
    await store.label([label(1)], [bare])
    assert found(store)["fb-0001"]["features"] is None
    store.offer(whole, chat())
    await store.label([label(1, 1.0)], [bare])
    row = found(store)["fb-0001"]
    assert row["features"] and row["explored"] and row["scores"] == {"small": 1.0}
    assert found(store) == {name: one for name, one in found(store).items() if one["labels"]}


async def test_words_that_are_no_unicode_are_kept_as_well_as_they_can_be(store, clock):
    store.keep = Keep(prompt_days={"search": 3})
    strange = replace(chat(), body={"messages": [{"role": "user", "content": "a \ud800 b"}]})
    store.features = lambda _: (b"", [])
    store.offer(asked(1, clock.now()), strange)
    await store.flush()
    assert found(store)["fb-0001"]["prompt"] == "a ? b"


async def test_rows_are_read_page_by_page_in_the_order_of_time(store, clock, monkeypatch):
    monkeypatch.setattr("router.stores.labelfile.PAGE", 7)
    for number in (*range(20, 0, -1), *range(21, 31)):
        store.offer(asked(number, clock.now() + number // 3), chat())
    await store.flush()
    names = [f"fb-{number:04}" for number in range(1, 31)]
    assert list(found(store)) == names
    assert list(found(store, since=clock.now() + 2, until=clock.now() + 4)) == names[5:11]
    assert found(store, route="another") == {}


# Through the whole of Farebox


async def test_nothing_of_a_prompt_is_on_disk_or_in_the_log_unless_its_team_says_so(
    start, config, say, judge, tmp_path, caplog
):
    on = await start(config({"labels": True, "explore": 0.05}), draw=0.0)
    name, _, _ = await say(on, SECRET)
    await judge(on, {"request_id": name, "score": 1})
    await on.farebox.labels.store.flush()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert name.encode() in held and SECRET.encode() not in held and SECRET not in caplog.text


async def test_a_team_that_stores_prompts_has_them_until_the_configuration_says_otherwise(start, config, say, kept):
    on = await start(config({"labels": True}, {"store_prompts": True, "retention_days": 7}))
    await say(on, SECRET)
    assert (await kept(on))[0]["prompt"] == SECRET
    file = on.farebox.snapshot.path
    file.write_text(file.read_text().replace("store_prompts: true", "store_prompts: false"))
    assert await on.farebox.reload()
    await stores.asyncio.sleep(0)  # those who tend to it wake up
    assert "prompt" not in (await kept(on))[0]


async def test_a_request_is_answered_whatever_becomes_of_its_labels(start, config, say, tmp_path):
    on = await start(config({"labels": True}, labels={"file": f"{tmp_path}"}))
    await say(on)
    on.farebox.labels.store.features = lambda text: 1 / 0
    await say(on)
    async with on.post(
        path="/admin/v1/feedback", key=KEY, json={"request_id": (await on.rows())[0]["request_id"], "score": 1}
    ) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (503, "overloaded")
