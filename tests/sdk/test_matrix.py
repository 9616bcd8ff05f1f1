"""Real clients of every dialect against a mock vendor of every dialect: text, a stream, a call of a tool.

The table of what this shows is in docs/dialects.md.
"""

import json

import anthropic
import openai
import pytest
from support import FareboxProcess, demo_config

MODELS = {  # one of each wire
    "openai": "gpt-4o-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "ollama": "llama3.2",
    "hunyuan": "hunyuan-turbos-latest",
    "qianfan": "ernie-4.0-8k",
}
NATIVE = {  # vendors that are asked on a wire of their own where that is configured
    "ollama": {"dialect": "ollama"},
    "tencent": {"dialect": "hunyuan", "api_key": "AKIDmine:mock"},
    "baidu": {"dialect": "qianfan", "api_key": "AK:SK"},
}
CHOOSING = {MODELS["ollama"]}  # its wire has no word for a tool that has to be called
KEY = "fb-demo-search-key"
PROPERTIES = {"city": {"type": "string"}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"]}


@pytest.fixture(scope="module")
def farebox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    config = demo_config(folder)
    config["vendors"]["google"] = {}
    config["models"]["gemini-2.5-flash"] = {"vendor": "google", "tier": "cheap", "quality": 0.8}
    config["vendors"] |= NATIVE
    price = {"currency": "CNY", "input": 1, "output": 2}
    for vendor, wire in (("ollama", "ollama"), ("tencent", "hunyuan"), ("baidu", "qianfan")):
        config["models"][MODELS[wire]] = {"vendor": vendor, "tier": "cheap", "quality": 0.8, "price": price}
    with FareboxProcess(config, folder) as process:
        yield process


@pytest.fixture(params=MODELS, ids=lambda wire: f"vendor-on-{wire}")
def model(request):
    return MODELS[request.param]


class Completions:
    """The `openai` package."""

    def __init__(self, url):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        self.tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]

    def more(self, model, tools):
        return {"tools": self.tools, "tool_choice": "auto" if model in CHOOSING else "required"} if tools else {}

    def ask(self, model, text, *, tools=False):
        reply = self.client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": text}],
            **self.more(model, tools),
        )
        message, usage = reply.choices[0].message, reply.usage
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
        return message.content, calls, (usage.prompt_tokens, usage.completion_tokens, usage.cost)

    def stream(self, model, text, *, tools=False):
        more = self.more(model, tools)
        messages = [{"role": "user", "content": text}]
        with self.client.chat.completions.stream(
            model=model, messages=messages, stream_options={"include_usage": True}, **more
        ) as events:
            for _ in events:
                pass
            reply = events.get_final_completion()
        message, usage = reply.choices[0].message, reply.usage
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
        return message.content, calls, (usage.prompt_tokens, usage.completion_tokens, usage.cost)


class Messages:
    """The `anthropic` package."""

    def __init__(self, url):
        self.client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
        self.tools = [{"name": "get_weather", "input_schema": SCHEMA}]

    def asked(self, model, text, tools):
        choice = {"type": "auto" if model in CHOOSING else "any"}
        more = {"tools": self.tools, "tool_choice": choice} if tools else {}
        return {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}

    def told(self, reply):
        text = "".join(block.text for block in reply.content if block.type == "text")
        calls = [(block.name, block.input) for block in reply.content if block.type == "tool_use"]
        cost = reply.usage.model_extra.get("cost")
        return text, calls, (reply.usage.input_tokens, reply.usage.output_tokens, cost)

    def ask(self, model, text, *, tools=False):
        return self.told(self.client.messages.create(**self.asked(model, text, tools)))

    def stream(self, model, text, *, tools=False):
        with self.client.messages.stream(**self.asked(model, text, tools)) as events:
            for _ in events:
                pass
            return self.told(events.get_final_message())


@pytest.fixture(params=[Completions, Messages], ids=lambda client: client.__name__.lower())
def client(request, farebox):
    return request.param(farebox.url)


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_a_text_is_answered_and_its_usage_told(client, model, way):
    text, calls, (prompt, completion, cost) = getattr(client, way)(model, "Why do prices fall? out=12 in=40")
    assert text
    assert calls == []
    assert (prompt, completion) == (40, 12)
    assert cost is None or cost > 0  # the anthropic package keeps of a stream's usage only what it knows


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_a_tool_is_called_with_an_object(client, model, way):
    _, calls, (prompt, completion, _) = getattr(client, way)(
        model, "How is the weather? Please call the tool.", tools=True
    )
    assert [(name, set(arguments)) for name, arguments in calls] == [("get_weather", {"city"})]
    assert prompt > 0
    assert completion > 0


def test_anthropics_client_sees_errors_as_its_own(farebox, model):
    client = anthropic.Anthropic(base_url=farebox.url, api_key="nobody", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        client.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert refused.value.body["error"]["type"] == "authentication_error"
    client = anthropic.Anthropic(base_url=farebox.url, api_key=KEY, max_retries=0)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="nothing", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=model, max_tokens=9, messages=[])


def test_anthropics_client_counts_tokens(farebox, model):
    client = anthropic.Anthropic(base_url=farebox.url, api_key=KEY, max_retries=0)
    asked = [{"role": "user", "content": "Why do prices fall?"}]
    assert 5 < client.messages.count_tokens(model=model, messages=asked).input_tokens < 40
