"""Ollama on this machine (github.com/ollama/ollama/blob/main/docs/openai.md). No key, no price: give each model one."""

from router.core.catalog import Vendor, Wire

VENDOR = Vendor(
    name="ollama",
    base_url="http://127.0.0.1:11434/v1",
    currency="USD",
    also=(Wire("ollama", "http://127.0.0.1:11434", tail="/api"),),
)
