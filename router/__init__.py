"""Farebox: a token-cost routing proxy for multi-vendor LLM APIs. Start reading at `router.pipeline.serve`."""

__version__ = "0.1.0"
