"""What vendors are sent: the client's body, but for what their quirks ask."""

import pytest
from fakes import model

from router.core import jsonio
from router.core.catalog import Access, Quirks, Vendor
from router.dialects import openai
from router.vendors import find

HELLO = [{"role": "user", "content": "hello"}]


def sent(quirks, cap=None, endpoint="chat/completions", **body):
    """The fields besides model and prompt that a vendor with these quirks gets."""
    prompt = {"messages": HELLO} if endpoint == "chat/completions" else {"prompt": "hello"}
    chat = openai.read(endpoint, jsonio.dumps({"model": "auto", **prompt, **body}), {})
    vendor = Vendor("check", "http://127.0.0.1:1/v1", "USD", quirks=quirks)
    told = jsonio.loads(openai.patch(chat, _at(vendor), cap))
    assert told.pop("model") == "small"
    return {name: value for name, value in told.items() if name not in prompt}


def _at(vendor):
    plain = model()
    return type(plain)(plain.name, plain.wire_name, Access(vendor, vendor.base_url), plain.tier, plain.timeline)


def of(name):
    return find(name).quirks


def test_by_default_a_body_passes_as_it_came():
    told = {"temperature": 2, "top_p": 0, "seed": 7, "max_completion_tokens": 9, "made_up": {"a": 1}}
    assert sent(Quirks(), **told) == told


@pytest.mark.parametrize(
    ("vendor", "name", "asked", "told"),
    [
        ("zhipu", "temperature", 0, 0.01),
        ("zhipu", "temperature", 1.5, 0.99),
        ("zhipu", "top_p", 1, 0.99),
        ("zhipu", "top_p", 0.5, 0.5),
        ("minimax", "temperature", 0, 0.01),
        ("minimax", "temperature", 1.3, 1),
        ("minimax", "top_p", 0.0, 0.01),
        ("baichuan", "temperature", 1.2, 1),
        ("iflytek", "temperature", 0, 0.01),
        ("alibaba", "temperature", 2, 1.99),
        ("alibaba", "top_p", 0, 0.01),
    ],
)
def test_a_number_out_of_a_vendors_range_is_brought_inside(vendor, name, asked, told):
    assert sent(of(vendor), **{name: asked}) == {name: told}


@pytest.mark.parametrize("value", [None, True, "warm"])
def test_what_is_no_number_is_left_to_the_vendor_to_judge(value):
    assert sent(of("zhipu"), temperature=value) == {"temperature": value}


@pytest.mark.parametrize("name", ["zhipu", "mistral", "baichuan", "iflytek"])
def test_a_vendor_that_knows_one_cap_gets_it_under_its_name(name):
    assert sent(of(name), max_completion_tokens=50) == {"max_tokens": 50}
    assert sent(of(name), max_completion_tokens=50, cap=20) == {"max_tokens": 20}
    assert sent(of(name), cap=20) == {"max_tokens": 20}


@pytest.mark.parametrize("name", ["openai", "azure-openai"])
def test_the_old_name_of_the_cap_which_newer_models_refuse_is_renamed(name):
    assert sent(of(name), max_tokens=50) == {"max_completion_tokens": 50}
    assert sent(of(name), 20, "completions", max_tokens=50) == {"max_tokens": 20}


def test_the_lower_of_two_caps_holds_in_each_place():
    both = {"max_tokens": 50, "max_completion_tokens": 30}
    assert sent(Quirks(), cap=40, **both) == {"max_tokens": 40, "max_completion_tokens": 30}
    assert sent(of("openai"), **both) == {"max_completion_tokens": 30}
    assert sent(of("zhipu"), **both) == {"max_tokens": 30}


def test_usage_is_asked_for_where_it_may_be():
    assert sent(Quirks(), stream=True) == {"stream": True, "stream_options": {"include_usage": True}}
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    assert sent(of("mistral"), **asked) == {"stream": True}


def test_a_parameter_goes_under_the_name_that_the_vendor_has_for_it():
    assert sent(of("mistral"), seed=7) == {"random_seed": 7}
    assert sent(of("mistral"), seed=7, random_seed=8) == {"random_seed": 8}
