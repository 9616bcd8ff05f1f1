"""The plain-text page at `/`."""

from router.mock.models import vendors

_PAGE = """\
Farebox mock vendors
====================

Pretended LLM vendors that answer, stream, fail and bill. No key, no network, no model: every answer is made up here,
and the same request always gets the same words.

  GET    /bill       what was served, with totals per vendor and model
  DELETE /bill       start a new bill

Every vendor name speaks every wire; /<vendor> is the base URL, or /<vendor>/v1 where that is usual:

  OpenAI      POST /<vendor>/v1/chat/completions  /v1/responses  /v1/completions  /v1/embeddings;  GET /<vendor>/v1/models
              the same under each vendor's own path: /alibaba/compatible-mode/v1, /zhipu/api/paas/v4, /groq/openai/v1, ...
              Authorization: Bearer KEY
  Azure       the same at /azure-openai, and its classic POST /azure-openai/openai/deployments/<model>/chat/completions?api-version=...
              api-key: KEY
  Anthropic   POST /<vendor>/v1/messages  /v1/messages/count_tokens  (also under /<vendor>/anthropic)
              x-api-key: KEY and anthropic-version: 2023-06-01
  Google      POST /<vendor>/v1beta/models/<model>:generateContent  :streamGenerateContent[?alt=sse]  :countTokens
                   :embedContent  :batchEmbedContents, and OpenAI's wire under /<vendor>/v1beta/openai
              x-goog-api-key: KEY or ?key=KEY
  Ollama      POST /<vendor>/api/chat, in JSON lines;  Authorization: Bearer KEY, if any
  Tencent     POST /<vendor>/ with X-TC-Action: ChatCompletions, signed by TC3-HMAC-SHA256; any SecretId, whose SecretKey is mock
  Baidu       POST /<vendor>/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/<model>?access_token=TOKEN, which is had for any AK and SK at
              POST /<vendor>/oauth/2.0/token?grant_type=client_credentials&client_id=AK&client_secret=SK; an AK that ends in
              -60 gets one that holds for 60 seconds
  Spark       a WebSocket at /<vendor>/v1.1/chat  /v2.1/chat  /v3.1/chat  /v3.5/chat  /v4.0/chat  /chat/pro-128k  /chat/max-32k
              ?authorization=...&date=...&host=..., signed

Vendors: {vendors};
any other name works like openai. Any key is good, but `bad-key`, which is refused.

  curl {url}/openai/v1/chat/completions -H 'authorization: Bearer demo' -H 'content-type: application/json' \\
    -d '{{"model": "gpt-4o-mini", "stream": true, "messages": [{{"role": "user", "content": "Tell me about queues. out=30"}}]}}'

Steering: key=value words in the last user message (or prompt, or embedding input), or the header
  x-mock: {{"out": 30, "status": 429}}                      the header wins, and refuses what it does not know

  out=N        output tokens, thinking included         status=S     fail with 400 401 402 403 404 429 500 503 529 ...
  in=N         prompt tokens to report and bill         code=C       ... and this error code: insufficient_quota,
  cached=N     of which this many were cached                        context_length_exceeded, content_filter, expired_token
  written=N    of which written to a cache for 5 min                 mean the same on each wire; others are sent as they are
  written1h=N  of which written to a cache for 1 hour   fail=N id=T  the first N requests with id T fail (status, cut, ...;
  reasoning=N  of the output, spent on thinking                      else 500), later ones do not
  filtered=N   the safety filter ends it after N tokens cut=N        drop the connection after N tokens (plain: half the body)
  delay=MS     before the first byte                    error_at=N   stream: an error event after N tokens
  gap=MS       between the events of a stream           error200=1   an error body with status 200 (shape: status=, code=)
  ignorecap=1  ignore max_tokens                        garbage=1    a body that is not JSON
  nousage=1    report no usage                          hang=1       never answer (10 minutes)
  split=1      usage elsewhere: OpenAI in the finish    drip=1       the stream in tiny pieces
               chunk, Anthropic the input side only     crlf=1       lines of events end in CR LF
               at the start                             keepalive=1  a comment line before each event

"call the tool" in the text calls the first tool, "both tools" the first two.
Not billed: errors, hangs and counting. Billed as far as served: streams that were cut, that failed midway, or whose client left.
"""


def text(url: str) -> str:
    return _PAGE.format(vendors=", ".join(vendors()), url=url)
