"""How a vendor's own stream of the Responses wire is watched on its way to a client of the same."""

import re
from typing import Any

from router.core import jsonio
from router.core.errors import RouterError
from router.dialects.responses_listen import ResponsesListener
from router.dialects.responses_speak import event, failing
from router.dialects.watch import Watch, Watching

_NUMBER = re.compile(rb'"sequence_number": ?(\d+)')


def _begun(watch: Watch) -> tuple[dict[str, Any], int]:
    """(the response as it was when it began, the number of the next event)."""
    numbers = _NUMBER.findall(watch.last)
    response = watch.listener.response if isinstance(watch.listener, ResponsesListener) else {}
    return dict(response), int(numbers[-1]) + 1 if numbers else 0


def _closing(watch: Watch) -> bytes:
    """The words are in it once more, as in every last event of this wire; what they cost the vendor has not said."""
    response, number = _begun(watch)
    part = {"type": "output_text", "text": watch.words(), "annotations": [], "logprobs": []}
    message = {"id": "msg_farebox", "type": "message", "role": "assistant", "status": "incomplete", "content": [part]}
    details = {"reason": "max_output_tokens"}
    response |= {"status": "incomplete", "incomplete_details": details, "output": [message] if part["text"] else []}
    return event("response.incomplete", number, b'"response":' + jsonio.dumps(response))


def _error(error: RouterError, watch: Watch) -> bytes:
    response, number = _begun(watch)
    return failing(error, response, number)


WATCHING = Watching(
    listener=ResponsesListener,
    tells=re.compile(rb'"(?:usage|error)"'),
    delta=b'.delta"',
    place=("response", "usage"),
    closing=_closing,
    error=_error,
    opens=re.compile(rb'"type": ?"response\.(?:created|in_progress|queued)"'),
)
