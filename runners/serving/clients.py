"""The clients by their name in a study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from runners.serving.client import Client
from runners.serving.vllm_client import VllmClient

__all__ = ["CLIENTS", "make_client"]

CLIENTS: Final[Mapping[str, Callable[[], Client]]] = {"vllm": VllmClient}
"""Name → how to build it."""


def make_client(name: str) -> Client:
    """The client called `name`."""
    return CLIENTS[name]()
