"""The clients by their name in a study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from runners.serving.aiperf_client import AIPerfClient
from runners.serving.client import Client
from runners.serving.guidellm_client import GuideLLMClient
from runners.serving.vllm_client import VllmClient

__all__ = ["CLIENTS", "make_client"]

CLIENTS: Final[Mapping[str, Callable[[], Client]]] = {
    "vllm": VllmClient, "guidellm": GuideLLMClient, "aiperf": AIPerfClient}
"""Name → how to build it."""


def make_client(name: str) -> Client:
    """The client called `name`."""
    return CLIENTS[name]()
