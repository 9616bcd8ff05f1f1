"""`farebox keys`: shown once, stored as a hash, revoked for good."""

import json
import re
import sqlite3
from contextlib import closing

import pytest
from small_ledger import SECRET, both

from router.settings import hash_key


def listed(run):
    return json.loads(run("keys", "list", "--format", "json").stdout)


def create(run, name="ci", team="search", **more):
    return run("keys", "create", "--team", team, "--name", name, **more)


def test_a_key_is_printed_once_and_only_its_hash_is_stored(run, store):
    made = create(run)
    key = made.stdout.strip()
    assert re.fullmatch("fb-[0-9a-f]{40}", key)
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT team, name, sha256 FROM keys").fetchall() == [("search", "ci", hash_key(key))]
    assert key.encode() not in store.read_bytes()
    assert key not in made.stderr


@both
def test_the_list_has_keys_of_the_store_and_of_the_file_and_no_secret(run):
    key = create(run).stdout.strip()
    found = listed(run)
    assert [(k["team"], k["name"], k["from"], k["status"]) for k in found] == [
        ("search", "ci", "store", "valid"),
        ("search", "app", "configuration", "valid"),
    ]
    for told in (run("keys", "list").stdout, json.dumps(found)):
        assert not any(secret in told for secret in (key, SECRET, hash_key(key), hash_key(SECRET)))


@both
def test_a_revoked_key_is_listed_as_revoked_and_its_name_is_free_again(run):
    create(run)
    key_id = listed(run)[0]["id"]
    assert "is revoked" in run("keys", "revoke", key_id).stdout
    assert listed(run)[0]["status"] == "revoked"
    assert "revoked already" in run("keys", "revoke", key_id, code=1).stderr
    create(run)
    assert [key["status"] for key in listed(run)] == ["revoked", "valid", "valid"]


@both
@pytest.mark.parametrize("key_id", ["key-of-nobody", ""])
def test_an_unknown_id_revokes_nothing(run, key_id):
    create(run)
    assert "no key in" in run("keys", "revoke", key_id, code=1).stderr


@both
def test_a_name_that_the_team_has_is_refused_wherever_it_is_from(run):
    create(run)
    assert "already" in create(run, code=1).stderr
    assert "already" in create(run, name="app", code=1).stderr
    create(run, name="app", team="support")


def test_an_unknown_team_is_refused_and_nothing_is_made(run, store):
    assert "configured are search, support" in create(run, team="nobody", code=1).stderr
    assert not store.exists()


@both
@pytest.mark.parametrize("name", ["", "with blank", "a/b", "a,b", "a|b", "x" * 129])
def test_a_name_that_labels_could_not_hold_is_wrong_usage(run, name):
    create(run, name=name, code=2)


@both
def test_a_key_expires_and_not_in_the_past(run):
    run("keys", "create", "--team", "search", "--name", "old", "--expires", "2020-01-01", code=2)
    run("keys", "create", "--team", "search", "--name", "new", "--expires", "2999-01-01")
    assert listed(run)[0]["expires"] == "2999-01-01T00:00:00Z"
