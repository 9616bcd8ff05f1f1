"""Real clients of every dialect against a mock vendor of every dialect: text, a stream, a call of a tool.

The table of what this shows is in docs/dialects.md.
"""

import json

import anthropic
import openai
import pytest
from pydantic import BaseModel
from support import ROOT, FareboxProcess, demo_config

MODELS = {  # one of each wire
    "openai": "qwen-plus",
    "openai-and-responses": "gpt-4o-mini",
    "responses": "gpt-4.1-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "ollama": "llama3.2",
    "hunyuan": "hunyuan-turbos-latest",
    "qianfan": "ernie-4.0-8k",
    "spark": "4.0Ultra",
}
NATIVE = {  # vendors that are asked on a wire of their own where that is configured
    "ollama": {"dialect": "ollama"},
    "tencent": {"dialect": "hunyuan", "api_key": "AKIDmine:mock"},
    "baidu": {"dialect": "qianfan", "api_key": "AK:SK"},
    "iflytek": {"dialect": "spark"},
}
CHOOSING = {MODELS["ollama"], MODELS["spark"]}  # their wires have no word for a tool that has to be called
SHAPELESS = {MODELS["hunyuan"], MODELS["qianfan"], MODELS["spark"]}  # nor these for the schema of an answer
FORGETFUL = {MODELS["spark"]}  # nor this one for calls of earlier turns, or for an answer that ended at its cap
KEY = "fb-demo-search-key"
PROPERTIES = {"city": {"type": "string"}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"]}


@pytest.fixture(scope="module")
def farebox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    config = demo_config(folder)
    config["vendors"]["google"] = {}
    config["models"]["gemini-2.5-flash"] = {"vendor": "google", "tier": "cheap", "quality": 0.8}
    config["vendors"] |= {**NATIVE, "azure-openai": {"dialect": "responses"}}
    price = {"currency": "CNY", "input": 1, "output": 2}
    for vendor, wire in (("ollama", "ollama"), ("tencent", "hunyuan"), ("baidu", "qianfan"), ("iflytek", "spark")):
        config["models"][MODELS[wire]] = {"vendor": vendor, "tier": "cheap", "quality": 0.8, "price": price}
    price = {"currency": "USD", "input": "0.4", "output": "1.6"}
    config["models"]["gpt-4.1-mini"] = {"vendor": "azure-openai", "tier": "cheap", "quality": 0.8, "price": price}
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


class Responses:
    """The `openai` package again: its newer way to ask."""

    def __init__(self, url):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        self.tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]

    def asked(self, model, text, tools):
        choice = "auto" if model in CHOOSING else "required"
        more = {"tools": self.tools, "tool_choice": choice} if tools else {}
        return {"model": model, "max_output_tokens": 500, "input": [{"role": "user", "content": text}], **more}

    def told(self, reply):
        assert (reply.object, reply.status, reply.error) == ("response", "completed", None)
        calls = [(one.name, json.loads(one.arguments)) for one in reply.output if one.type == "function_call"]
        return reply.output_text, calls, (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cost)

    def ask(self, model, text, *, tools=False):
        return self.told(self.client.responses.create(**self.asked(model, text, tools)))

    def stream(self, model, text, *, tools=False):
        said = ""
        with self.client.responses.stream(**self.asked(model, text, tools)) as events:
            for one in events:
                if one.type == "response.output_text.delta":
                    said += one.delta
                    assert one.snapshot == said
            reply = events.get_final_response()
        assert reply.output_text == said
        return self.told(reply)


@pytest.fixture(params=[Completions, Messages, Responses], ids=lambda client: client.__name__.lower())
def client(request, farebox):
    made = request.param(farebox.url)
    yield made
    made.client.close()


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


@pytest.fixture
def claude(farebox):
    with anthropic.Anthropic(base_url=farebox.url, api_key=KEY, max_retries=0) as client:
        yield client


def test_anthropics_client_sees_errors_as_its_own(claude, model):
    asked = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(anthropic.AuthenticationError) as refused:
        claude.with_options(api_key="nobody").messages.create(**asked)
    assert refused.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**{**asked, "model": "nothing"})
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(**{**asked, "messages": []})


def test_anthropics_client_counts_tokens(claude, model):
    asked = [{"role": "user", "content": "Why do prices fall?"}]
    assert 5 < claude.messages.count_tokens(model=model, messages=asked).input_tokens < 40


@pytest.fixture
def sdk(farebox):
    with openai.OpenAI(base_url=f"{farebox.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


class Rate(BaseModel):
    """What an answer is asked to look like."""

    currency: str
    per_dollar: float


@pytest.mark.parametrize("way", ["parse", "stream"])
def test_a_response_fits_the_class_that_it_was_asked_for(sdk, model, way):
    asked = {"model": model, "input": "What is a dollar in yen?", "text_format": Rate}
    if model in SHAPELESS:
        with pytest.raises(openai.BadRequestError, match="response_format"):
            sdk.responses.parse(**asked)
        return
    if way == "parse":
        reply = sdk.responses.parse(**asked)
    else:
        with sdk.responses.stream(**asked) as events:
            reply = events.until_done().get_final_response()
    assert isinstance(reply.output_parsed, Rate)


def test_a_conversation_of_responses_goes_on_after_a_call(sdk, model):
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    items = [{"role": "user", "content": "How is the weather? Please call the tool."}]
    choice = "auto" if model in CHOOSING else "required"
    first = sdk.responses.create(model=model, input=items, tools=tools, tool_choice=choice, store=False)
    items += [item.model_dump(exclude_unset=True) for item in first.output]
    for item in first.output:
        if item.type == "function_call":
            items.append({"type": "function_call_output", "call_id": item.call_id, "output": "sunny"})
    if model in FORGETFUL:
        with pytest.raises(openai.BadRequestError, match="tool_calls"):
            sdk.responses.create(model=model, input=items, tools=tools)
        return
    second = sdk.responses.create(model=model, input=items, tools=tools)
    assert second.output_text
    assert second.usage.input_tokens > first.usage.input_tokens


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"model": "nothing"}, openai.NotFoundError),
        ({"input": []}, openai.BadRequestError),
        ({"previous_response_id": "gone"}, openai.BadRequestError),
        ({"input": "hi status=429"}, openai.RateLimitError),
        ({"input": "hi status=500"}, openai.InternalServerError),
        ({"extra_headers": {"Authorization": "Bearer nobody"}}, openai.AuthenticationError),
    ],
)
def test_openais_client_sees_errors_of_responses_as_its_own(sdk, model, asked, kind):
    for stream in (False, True):
        with pytest.raises(kind) as refused:
            sdk.responses.create(**{"model": model, "input": "hi", "stream": stream, **asked})
        assert refused.value.body["message"]


def test_a_response_is_not_fetched_later(sdk):
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve("resp_1")


def test_openais_client_raises_what_breaks_a_stream_of_responses(sdk, model):
    with (
        sdk.responses.create(model=model, input="Why? out=20 error_at=5 status=500", stream=True) as events,
        pytest.raises(openai.APIError),
    ):
        list(events)


def test_a_response_that_reaches_its_cap_is_incomplete(sdk, model):
    reply = sdk.responses.create(model=model, input="Tell me out=200", max_output_tokens=20)
    if model in FORGETFUL:
        assert (reply.status, reply.usage.output_tokens) == ("completed", 20)
        return
    assert (reply.status, reply.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert reply.usage.output_tokens == 20
    with sdk.responses.create(model=model, input="Tell me out=200", max_output_tokens=20, stream=True) as events:
        *_, last = events
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")


def test_the_table_of_the_documentation_has_every_wire_and_what_is_done_with_tools():
    text = (
        (ROOT / "docs/dialects.md").read_text().partition("## What is shown with real clients")[2].partition("\n## ")[0]
    )
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    chosen = {wire: MODELS[wire] in CHOOSING for wire in MODELS}
    assert {row[0].strip("`"): row[-1].startswith("chosen") for row in cells} == chosen
