"""The clients by their name in a study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from runners.serving.aiperf_client import AIPerfClient
from runners.serving.client import Client
from runners.serving.guidellm_client import GuideLLMClient
from runners.serving.vllm_client import VllmClient
from runners.vllm_imports import VllmImports

__all__ = ["CLIENTS", "make_client"]

CLIENTS: Final[Mapping[str, Callable[[VllmImports | None], Client]]] = {
    "vllm": VllmClient, "guidellm": lambda _: GuideLLMClient(), "aiperf": lambda _: AIPerfClient()}
"""Name → how to build it."""


def make_client(name: str, imports: VllmImports | None = None) -> Client:
    """The client called `name`. imports: where vLLM may have been imported already."""
    return CLIENTS[name](imports)
