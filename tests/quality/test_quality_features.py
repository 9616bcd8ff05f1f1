import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.quality.features import EDGE, PLACES, clip, places
from router.quality.request import SHAPE, Request, language, request_of


@given(st.text(max_size=400))
def test_any_text_has_places_once_each_in_order_and_the_same_again(text):
    found = places(text)
    assert (np.diff(found.astype(np.int64)) > 0).all() and (found < PLACES).all()
    assert np.array_equal(found, places(text))


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
