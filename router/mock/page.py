"""The plain-text page at `/`."""

from router.mock.models import vendors

_PAGE = """\
Farebox mock vendors
====================

Pretended LLM vendors that answer, stream, fail and bill. No key, no network, no model: every answer is made up here,
and the same request always gets the same words.

  POST   /<vendor>/v1/chat/completions     GET     /<vendor>/v1/models
  POST   /<vendor>/v1/completions          GET     /bill       what was served, with totals per vendor and model
  POST   /<vendor>/v1/embeddings           DELETE  /bill       start a new bill

Vendors: {vendors};
any other name works like openai. Any bearer key is good, but `bad-key`, which is refused.

  curl {url}/openai/v1/chat/completions -H 'authorization: Bearer demo' -H 'content-type: application/json' \\
    -d '{{"model": "gpt-4o-mini", "stream": true, "messages": [{{"role": "user", "content": "Tell me about queues. out=30"}}]}}'

Steering: key=value words in the last user message (or prompt, or embedding input), or the header
  x-mock: {{"out": 30, "status": 429}}                      the header wins, and refuses what it does not know

  out=N        output tokens, thinking included         status=S     fail with 400 401 402 403 404 429 500 503 ...
  in=N         prompt tokens to report and bill         code=C       ... and this error code, such as insufficient_quota,
  cached=N     of which this many were cached                        context_length_exceeded
  reasoning=N  of the output, spent on thinking         fail=N id=T  the first N requests with id T fail (status, cut, ...;
  delay=MS     before the first byte                                 else 500), later ones do not
  gap=MS       between the events of a stream           cut=N        drop the connection after N tokens (plain: half the body)
  ignorecap=1  ignore max_tokens                        error_at=N   stream: an error event after N tokens
  nousage=1    report no usage                          error200=1   an error body with status 200 (shape: status=, code=)
  split=1      usage in the finish chunk                garbage=1    a body that is not JSON
  crlf=1       lines end in CR LF                       hang=1       never answer (10 minutes)
  drip=1       the stream in tiny pieces                keepalive=1  a comment line before each event

"call the tool" in the text calls the first tool, "both tools" the first two.
Not billed: errors and hangs. Billed as far as served: streams that were cut, that failed midway, or whose client left.
"""


def text(url: str) -> str:
    return _PAGE.format(vendors=", ".join(vendors()), url=url)
