"""What the demo is asked in the tests of the admin API and the page."""

ADMIN = "farebox-demo-admin"
SEARCH, SUPPORT, BATCH = "fb-demo-search-key", "fb-demo-support-key", "fb-demo-batch-key"

TRAFFIC = (
    (SEARCH, "auto", "Tell me about queues. out=120"),
    (SEARCH, "best", "Tell me about prices. out=200"),
    (SEARCH, "bulk", "Tell me about ledgers. out=80"),
    (SEARCH, "anthropic/claude-sonnet-4-5", "Tell me about fares. out=40"),
    (SUPPORT, "auto", "Why is my bill so high? out=60"),
    (SUPPORT, "auto", "No usage is reported here. nousage=1 out=30"),
    (BATCH, "bulk", "The first vendor fails. status=503 fail=1 id=batch out=50"),
)


async def send_traffic(on, traffic=TRAFFIC):
    for key, route, text in traffic:
        body = {"model": route, "messages": [{"role": "user", "content": text}]}
        async with on.post(key=key, json=body) as reply:
            assert reply.status == 200, await reply.text()
            await reply.read()
    await on.rows()
