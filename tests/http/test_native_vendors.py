"""Vendors on wires of their own, through both HTTP clients, against mocks that check signatures and let tokens end."""

import json

import pytest

KEY = "fb-demo-search-key"
MODELS = {
    "llama3.2": ("ollama", "api/chat"),
    "hunyuan-lite": ("tencent", "ChatCompletions"),
    "ernie-4.0-8k": ("baidu", "chat"),
}


@pytest.fixture(params=["lean", "aiohttp"])
async def farebox(request, running, demo):
    demo["server"]["http_client"] = request.param
    demo["vendors"] |= {
        "ollama": {"dialect": "ollama"},
        "tencent": {"dialect": "hunyuan"},  # the mock's own pair
        "baidu": {"dialect": "qianfan", "api_key": "AK:S/K"},
    }
    for name, (vendor, _) in MODELS.items():
        price = {"currency": "CNY", "input": 1, "output": 2}
        demo["models"][name] = {"vendor": vendor, "tier": "cheap", "quality": 0.8, "price": price}
    return await running(demo)


async def ask(farebox, model, text, **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with farebox.post("/v1/chat/completions", data=json.dumps(body), headers=headers) as reply:
        return reply.status, await reply.read()


@pytest.mark.parametrize("model", MODELS)
async def test_each_is_asked_on_its_own_wire_and_its_bill_is_what_the_client_is_told(farebox, model):
    status, raw = await ask(farebox, model, "Why do prices fall? out=12 in=40")
    told = json.loads(raw)
    assert status == 200, told
    status, stream = await ask(farebox, model, "Why do prices fall? out=12 in=40", stream=True)
    assert status == 200
    assert stream.endswith(b"data: [DONE]\n\n")
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (40, 12)
    assert [(line.vendor, line.endpoint, line.input_tokens, line.output_tokens) for line in farebox.mock.bill] == [
        (*MODELS[model], 40, 12)
    ] * 2


async def test_a_stale_token_is_renewed_within_the_attempt(farebox):
    status, raw = await ask(farebox, "ernie-4.0-8k", "status=401 code=expired_token fail=1 id=stale out=3 in=9")
    assert status == 200, raw
    assert [line.output_tokens for line in farebox.mock.bill] == [3]


async def test_what_the_wire_refuses_is_the_clients_error(farebox):
    for model in MODELS:
        status, raw = await ask(farebox, model, "hi", n=2)
        assert status == 400
        assert b"`n` cannot be carried" in raw
