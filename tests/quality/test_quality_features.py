from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.quality.features import EDGE, PLACES, clip, places
from router.quality.request import SHAPE, Request, language, request_of


@given(st.text(max_size=400))
def test_any_text_has_places_once_each_in_order_and_the_same_again(text):
    found = places(text)
    assert (np.diff(found.astype(np.int64)) > 0).all() and (found < PLACES).all()
    assert np.array_equal(found, places(text))


def plainly(text):
    """The places by the definition, piece by piece."""
    bits, whole = 18, 1 << 64
    base, spread = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
    said = [byte + 32 * (65 <= byte <= 90) for byte in f" {text} ".encode("utf-8", "replace")]
    word = [byte >= 128 or chr(byte).isalnum() for byte in said]

    def run(first, behind):
        return sum((byte + 1) * pow(base, at, whole) for at, byte in enumerate(said[first:behind])) % whole

    runs = [run(at, at + order) for order in (3, 4, 5, 6) for at in range(len(said) - order + 1)]
    edges = [at for at in range(1, len(said)) if word[at] != word[at - 1]]
    words = [run(*ends) for ends in zip(edges[::2], edges[1::2], strict=True)]
    pairs = [(one * 0xC2B2AE3D27D4EB4F + other) % whole for one, other in pairwise(words)]
    hashes = runs + [each ^ 0xD6E8FEB86659FD93 for each in words] + pairs
    return sorted({(each ^ each >> 29) * spread % whole >> 64 - bits for each in hashes})


@given(st.text(max_size=60) | st.text("aB 1.é中\U0001f600\ud800", max_size=12))
def test_the_places_are_those_of_the_definition(text):
    assert places(text).tolist() == plainly(text)


@pytest.mark.parametrize(
    ("text", "count", "digest"),
    [
        ("", 0, "e3b0c44298fc1c14"),
        ("Hello World, what is 2 + 2?", 112, "3c60dbc71baf6063"),
        ("这是中文 with words; and\n\tlines", 143, "93393ed0b293ef31"),
        ("\ud800 é \U0001f600", 33, "20052d8bcbd07371"),
        ("ab_c {x: [1, 2]} " * 300, 101, "ef3d7c154dc1b4be"),
    ],
)
def test_the_places_of_a_text_never_change_since_artefacts_were_learnt_on_them(text, count, digest):
    found = places(text)
    assert (len(found), sha256(found.astype("<u4").tobytes()).hexdigest()[:16]) == (count, digest)


def test_the_shape_says_what_a_text_is_made_of():
    shape = dict(zip(SHAPE, np.expm1(Request("Is 2+2; (4)?\né").shape()), strict=True))
    told = {name: round(float(shape[name])) for name in SHAPE if "share" not in name and name != "word length"}
    assert told["length"] == 14 and told["words"] == 4 and told["lines"] == 1 and told["digits"] == 3
    assert (told["questions"], told["operators"], told["brackets"], told["stops"]) == (1, 1, 3, 1)  # `;` is both
    capitals, beyond, length = (
        float(Request("Is 2+2; (4)?\né").shape()[SHAPE.index(name)])
        for name in ("capitals", "beyond ascii", "word length")
    )
    assert (capitals, beyond, length) == pytest.approx((1 / 15, 2 / 15, 15 / 4))


@given(st.text(min_size=1, max_size=200), st.text(max_size=50))
def test_a_text_with_more_in_it_shares_most_of_its_places(text, more):
    one, two = set(places(text).tolist()), set(places(f"{text} {more}").tolist())
    assert len(one & two) >= 0.5 * len(one) - 12  # only what touches the end differs


def test_capitals_of_ascii_make_no_difference_and_words_do():
    assert np.array_equal(places("Hello World"), places("hello world"))
    assert not np.array_equal(places("hello world"), places("world hello"))


def test_of_a_long_text_both_ends_are_read():
    middle = "x" * 10_000
    begin, end = "a" * EDGE, "b" * EDGE
    assert np.array_equal(places(begin + middle + end), places(begin + "y" * 99 + end))
    assert not np.array_equal(places(begin + middle + end), places(begin + middle + end + "!"))
    assert len(clip(begin + middle + end)) == 2 * EDGE + 1


def test_lone_surrogates_and_empty_texts_are_texts():
    assert len(places("\ud800")) > 0
    assert Request("").shape().shape == (len(SHAPE),)
    assert np.isfinite(Request("\ud800").shape()).all()


def test_a_chat_body_is_read_for_text_and_shape():
    body = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {}}],
            },
            {"role": "assistant", "content": "a cat"},
            {"role": "user", "content": "sure?"},
        ],
        "tools": [{"type": "function"}],
        "max_tokens": 50,
        "response_format": {"type": "json_schema"},
    }
    found = request_of(body, "auto")
    assert (found.text, found.images, found.turns, found.tools) == ("be brief\nwhat is this\nsure?", 1, 2, 1)
    assert (found.schema, found.output_cap, found.route) == (True, 50, "auto")
    assert request_of({"request": body, "route": "bulk", "model": "m", "score": 1}).route == "bulk"
    assert request_of({"input": "hello", "instructions": "be brief"}).text == "hello"


def test_the_language_is_told_by_the_script():
    told = [
        language(text)
        for text in ("plain words", "这是中文 with words", "これは日本語です", "한국어입니다", "это слова", "")
    ]
    assert told == ["en", "zh", "ja", "ko", "other", "en"]
