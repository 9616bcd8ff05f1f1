"""Which dialects there are, and who speaks which: the one place where a vendor's wire and a client's meet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from router.core.catalog import ChatRequest, DialectName, Endpoint, Model, Quirks
from router.core.errors import RouterError
from router.core.failure import AttemptFailed, Failure, Fault
from router.core.reading import Reader
from router.dialects import (
    anthropic,
    anthropic_body,
    anthropic_usage,
    gemini,
    gemini_usage,
    hunyuan,
    hunyuan_listen,
    ollama,
    ollama_listen,
    openai,
    openai_errors,
    qianfan,
    qianfan_grant,
    qianfan_listen,
    responses,
    responses_body,
    responses_tools,
    responses_watch,
    spark,
    spark_listen,
    tc3,
)  # fmt: skip
from router.dialects.anthropic_stream import WATCHING, AnthropicListener, AnthropicSpeaker
from router.dialects.carry import Carries
from router.dialects.gemini_listen import GeminiListener
from router.dialects.grant import Grant
from router.dialects.hunyuan_listen import HunyuanListener
from router.dialects.ollama_listen import OllamaListener
from router.dialects.openai_listen import OpenAIListener
from router.dialects.openai_plain import Plain
from router.dialects.openai_speak import OpenAISpeaker
from router.dialects.openai_stream import Tap
from router.dialects.openai_suit import unsuited
from router.dialects.pieces import Bill, Listener, Speaker
from router.dialects.qianfan_listen import QianfanListener
from router.dialects.responses_listen import ResponsesListener
from router.dialects.responses_speak import ResponsesSpeaker
from router.dialects.sent import Sent
from router.dialects.turn import ODD, Gathered, Lines, Played, Turn, Turned
from router.dialects.watch import Watch, Watched, Watching


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire that vendors speak."""

    endpoints: frozenset[Endpoint]
    """What is passed on to it as it came."""
    request: Callable[..., Sent]
    """(chat, model, cap, key, must=whether the vendor has to be told the cap) → the call."""
    listener: Callable[[Quirks], Listener]
    error: Callable[[int, bytes, Mapping[str, str], Quirks], Failure]
    cannot: Callable[[ChatRequest], str]
    """Why a chat completion cannot be put on this wire; "" if it can."""
    carries: Carries | None = None
    """What of a chat completion it can carry; None: all of it."""
    lines: bool = False
    """Whether its streams are JSON lines, not server-sent events."""
    capless: bool = False
    """Whether it has no word for an output cap: it is always asked for a stream, which we end at the cap."""
    streams: bool = False
    """Whether it only streams, so that a plain answer is gathered."""
    sign: Callable[[Sent, str, int], Sent] | None = None
    """(the call, the credential, seconds since 1970) → the call, signed; None: `request` puts the credential in."""
    grant: Grant | None = None
    """How its credential becomes the token that calls are made with; None: it is that itself."""
    credential: str = ""
    """The form of a credential that is no single word."""
    unaccountable: Callable[[ChatRequest, Quirks], str] = lambda *_: ""
    """Why the cost of a request on its own wire would not be known; "" if it would."""
    last: Callable[[bytes], bool] | None = None
    """Whether a message is the last one of an answer, where the vendor may leave its WebSocket open behind it."""


DIALECTS: Mapping[DialectName, Dialect] = {
    "openai": Dialect(
        endpoints=frozenset({"chat/completions", "completions", "embeddings"}),
        request=openai.request,
        listener=OpenAIListener,
        error=openai_errors.error,
        cannot=lambda _: "",
    ),
    "anthropic": Dialect(
        endpoints=frozenset({"messages"}),
        request=anthropic_body.request,
        listener=AnthropicListener,
        error=anthropic_usage.error,
        cannot=anthropic_body.cannot,
        carries=anthropic_body.CARRIES,
    ),
    "ollama": Dialect(
        endpoints=frozenset({"embeddings"}),
        request=ollama.request,
        listener=OllamaListener,
        error=ollama_listen.error,
        cannot=ollama.cannot,
        carries=ollama.CARRIES,
        lines=True,
    ),
    "hunyuan": Dialect(
        endpoints=frozenset(),
        request=hunyuan.request,
        listener=HunyuanListener,
        error=hunyuan_listen.error,
        cannot=hunyuan.cannot,
        carries=hunyuan.CARRIES,
        capless=True,
        sign=tc3.sign,
        credential=tc3.CREDENTIAL,
    ),
    "qianfan": Dialect(
        endpoints=frozenset(),
        request=qianfan.request,
        listener=QianfanListener,
        error=qianfan_listen.error,
        cannot=qianfan.cannot,
        carries=qianfan.CARRIES,
        grant=qianfan_grant.GRANT,
    ),
    "spark": Dialect(
        endpoints=frozenset(),
        request=spark.request,
        listener=spark_listen.SparkListener,
        error=spark_listen.error,
        cannot=spark.cannot,
        carries=spark.CARRIES,
        lines=True,
        streams=True,
        sign=spark.sign,
        credential=spark.CREDENTIAL,
        last=spark_listen.is_last,
    ),
    "gemini": Dialect(
        endpoints=frozenset({"embeddings"}),
        request=gemini.request,
        listener=GeminiListener,
        error=gemini_usage.error,
        cannot=gemini.cannot,
        carries=gemini.CARRIES,
    ),
    "responses": Dialect(
        endpoints=frozenset({"responses"}),
        request=responses_body.request,
        listener=ResponsesListener,
        error=openai_errors.error,
        cannot=responses_body.cannot,
        carries=responses_body.CARRIES,
        unaccountable=responses_tools.has_a_fee,
    ),
}


@dataclass(frozen=True, slots=True)
class Client:
    """A wire that clients speak."""

    dialect: DialectName
    read: Callable[[bytes, Mapping[str, str]], ChatRequest]
    show_error: Callable[[RouterError, str | None], bytes]
    speaker: Callable[[ChatRequest, str, int, int, Bill], Speaker] | None = None
    """(chat, the model's name, the prompt's estimate, seconds since 1970, bill); None: it is never translated."""
    watching: Watching | None = None
    """How a vendor's own stream of this wire is watched; None: the OpenAI wire has its own readers."""


def _to_openai(chat: ChatRequest, model: str, _: int, now: int, bill: Bill) -> Speaker:
    return OpenAISpeaker(model, now, bill, wants_usage=chat.wants_usage)


def _to_anthropic(_: ChatRequest, model: str, prompt: int, __: int, bill: Bill) -> Speaker:
    return AnthropicSpeaker(model, prompt, bill)


def _to_responses(chat: ChatRequest, model: str, prompt: int, now: int, bill: Bill) -> Speaker:
    return ResponsesSpeaker(chat.body, model, prompt, now, bill)


CLIENTS: Mapping[Endpoint, Client] = {
    "chat/completions": Client("openai", partial(openai.read, "chat/completions"), openai.show_error, _to_openai),
    "completions": Client("openai", partial(openai.read, "completions"), openai.show_error),
    "embeddings": Client("openai", partial(openai.read, "embeddings"), openai.show_error),
    "messages": Client("anthropic", anthropic.read, anthropic.show_error, _to_anthropic, WATCHING),
    "responses": Client("responses", responses.read, openai.show_error, _to_responses, responses_watch.WATCHING),
}


def read(endpoint: Endpoint, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """A client's request. Raises `InvalidRequest`."""
    return CLIENTS[endpoint].read(raw, headers)


def show_error(endpoint: Endpoint, error: RouterError, request_id: str | None) -> bytes:
    """An error before the first byte, in the caller's dialect."""
    return CLIENTS[endpoint].show_error(error, request_id)


def wire_of(model: Model, endpoint: Endpoint) -> tuple[Dialect, bool]:
    """(the dialect that a model is asked in, whether that is the client's own, so that the body passes)."""
    vendor = model.access.vendor
    own = DIALECTS[vendor.dialect]
    if endpoint in own.endpoints:
        return own, True
    if endpoint in vendor.endpoints:
        return DIALECTS[CLIENTS[endpoint].dialect], True
    return own, False


def cannot(chat: ChatRequest, model: Model) -> str:
    """Why a model's wire cannot carry a request; "" if it can."""
    dialect, native = wire_of(model, chat.endpoint)
    if native:
        refused = unsuited(chat, model) if chat.endpoint == "chat/completions" else ""
        return refused or dialect.unaccountable(chat, model.access.vendor.quirks)
    if CLIENTS[chat.endpoint].speaker is None:
        return f"its wire has no {chat.endpoint}"
    if chat.stays:
        return f"{chat.stays} cannot be carried to another wire"
    try:
        return dialect.cannot(chat) or (unsuited(chat, model) if dialect is DIALECTS["openai"] else "")
    except ODD as error:
        return f"it is too odd to be carried to another wire ({type(error).__name__})"


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool, now: int) -> Sent:
    """The call to a vendor, in its dialect.

    Args:
        chat: the request.
        model: who is asked.
        cap: the most output tokens per choice.
        key: the credential, or the token that it was exchanged for; "" if there is none.
        must: whether the vendor has to be told the cap, because it would not keep to it by itself.
        now: seconds since 1970, for wires whose calls are signed.

    Raises:
        AttemptFailed: a client's body is so odd that it cannot be translated; nothing was sent.

    """
    dialect, native = wire_of(model, chat.endpoint)
    try:
        sent = dialect.request(chat, model, cap, key, must=must)
        return sent if dialect.sign is None else dialect.sign(sent, key, now)
    except ODD as error:
        if native:
            raise
        told = f"the request cannot be put on the vendor's wire: {type(error).__name__}: {error}"
        raise AttemptFailed(Failure(Fault.BAD_REQUEST, told)) from None


class StreamReader(Reader, Protocol):
    """Reads a vendor's stream."""

    done: bool  # the vendor has said that this is all

    @property
    def written(self) -> int:
        """Tokens that the vendor has written at the least."""

    def fail(self, error: RouterError) -> bytes:
        """What tells the client that the stream cannot go on."""

    def cut(self, model: str) -> bytes:
        """How the stream is closed when it is we who end it at its cap."""


class PlainReader(Reader, Protocol):
    """Reads a plain answer."""

    def read(self, raw: bytes) -> bool:
        """Whether this is an answer; else `failure` says why not."""

    def shown(self, raw: bytes) -> bytes:
        """The answer as the client gets it."""


def stream_reader(chat: ChatRequest, model: Model, prompt: int, now: int, bill: Bill) -> StreamReader:
    """Who reads a model's stream for this client."""
    dialect, native = wire_of(model, chat.endpoint)
    client, quirks = CLIENTS[chat.endpoint], model.access.vendor.quirks
    if not native and client.speaker is not None:
        speaker = client.speaker(chat, model.wire_name, prompt, now, bill)
        return Turn(dialect.listener(quirks), speaker, Lines() if dialect.lines else None)
    if client.watching is not None:
        return Watch(client.watching, quirks, bill)
    return Tap(hide_usage=not chat.wants_usage, bill=bill, quirks=quirks)


def plain_reader(chat: ChatRequest, model: Model, prompt: int, now: int, bill: Bill) -> PlainReader:
    """Who reads a model's plain answer for this client; where that asked for a stream, it is played as one."""
    dialect, native = wire_of(model, chat.endpoint)
    client, quirks = CLIENTS[chat.endpoint], model.access.vendor.quirks
    if chat.stream and client.speaker is not None:
        return Played(dialect.listener(quirks), client.speaker(chat, model.wire_name, prompt, now, bill))
    if not native and client.speaker is not None:
        speaker = client.speaker(chat, model.wire_name, prompt, now, bill)
        if dialect.capless or dialect.streams:
            return Gathered(dialect.listener(quirks), speaker, Lines() if dialect.lines else None)
        return Turned(dialect.listener(quirks), speaker)
    if client.watching is not None:
        return Watched(client.watching.listener(quirks), bill)
    return Plain(quirks, bill)
