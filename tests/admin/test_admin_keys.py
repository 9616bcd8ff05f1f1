"""Keys that are made, listed and revoked over HTTP."""

import pytest


async def test_a_key_that_is_made_works_at_once_is_shown_once_and_ends_when_it_is_revoked(running, demo, ask):
    on = await running(demo)
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello. out=5"}]}
    status, made = await ask(on, "keys", method="POST", json={"team": "search", "name": "laptop"})
    assert status == 201
    assert made["key"].startswith("fb-")
    async with on.post(key=made["key"], json=body) as reply:
        assert reply.status == 200
    assert (await on.rows())[-1]["key"] == "laptop"

    _, listed = await ask(on, "keys")
    assert made["key"] not in str(listed)
    (mine,) = (key for key in listed["data"] if key["id"] == made["id"])
    assert (mine["team"], mine["name"], mine["source"], mine["status"]) == ("search", "laptop", "store", "valid")
    written = [(key["team"], key["name"]) for key in listed["data"] if key["source"] == "config"]
    assert written == [("search", "demo"), ("support", "demo"), ("batch", "demo")]

    assert await ask(on, f"keys/{made['id']}", method="DELETE") == (200, {"id": made["id"], "revoked": True})
    async with on.post(key=made["key"], json=body) as reply:
        assert reply.status == 401
    assert (await ask(on, f"keys/{made['id']}", method="DELETE"))[0] == 404
    _, listed = await ask(on, "keys")
    assert next(key for key in listed["data"] if key["id"] == made["id"])["status"] == "revoked"


async def test_a_key_expires_when_it_was_told_to(running, demo, ask):
    on = await running(demo)
    body = {"team": "search", "name": "guest", "expires": "2100-01-01"}
    _, made = await ask(on, "keys", method="POST", json=body)
    assert (made["expires"], made["status"]) == ("2100-01-01T00:00:00Z", "valid")
    caller = next(caller for caller in on.farebox.callers.values() if caller.key == "guest")
    assert caller.expires == 4102444800 * 10**6


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        ({"name": "a"}, "team"),
        ({"team": "nobody", "name": "a"}, "team"),
        ({"team": "search"}, "name"),
        ({"team": "search", "name": ""}, "name"),
        ({"team": "search", "name": "a b"}, "name"),
        ({"team": "search", "name": "a/b"}, "name"),
        ({"team": "search", "name": "x" * 129}, "name"),
        ({"team": "search", "name": 7}, "name"),
        ({"team": "search", "name": "a", "expires": "2020-01-01"}, "expires"),
        ({"team": "search", "name": "a", "expires": "soon"}, "expires"),
        ({"team": "search", "name": "a", "expires": 4102444800}, "expires"),
        ({"team": "search", "name": "a", "colour": "red"}, "colour"),
    ],
)
async def test_a_key_that_cannot_be_made_is_an_error_that_names_the_field(running, demo, ask, body, param):
    on = await running(demo)
    how = {"data": body} if isinstance(body, bytes) else {"json": body}
    status, told = await ask(on, "keys", method="POST", **how)
    assert (status, told["error"]["param"]) == (400, param)
    assert await on.farebox.ledger.keys() == []


async def test_two_valid_keys_of_a_team_never_share_a_name(running, demo, ask):
    on = await running(demo)
    for name in ("demo", "twice"):
        statuses = [(await ask(on, "keys", method="POST", json={"team": "search", "name": name}))[0] for _ in range(2)]
        assert statuses == ([409, 409] if name == "demo" else [201, 409])
