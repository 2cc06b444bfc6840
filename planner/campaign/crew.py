"""The worker processes of one campaign, as the process that shows its progress sees them."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from planner.campaign.settings import END_GRACE_S
from planner.space.executor import Worker

__all__ = ["Crew", "Event"]

Event: TypeAlias = dict[str, Any]
_LAST = ("ended", "failed")


@dataclass
class _Member:
    number: int
    process: Worker
    pipe: int
    buffer: bytes = b""
    last: Event = field(default_factory=dict)


class Crew:
    """Starts workers, hears of their events, passes signals on. The caller must call `end`.

    start: starts the worker with this number, which writes to this descriptor.
    """

    def __init__(self, start: Callable[[int, int], Worker]) -> None:
        self._start = start
        self._members: list[_Member] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._members)

    @property
    def started(self) -> int:
        """How many have been started."""
        return self._count

    def start(self) -> None:
        """Start one more. Raises RunnerError."""
        self._count += 1
        read, write = os.pipe()
        try:
            self._members.append(_Member(self._count, self._start(self._count, write), read))
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)

    def send(self, number: int) -> None:
        """Send a signal to all."""
        for member in self._members:
            member.process.send(number)

    def events(self, wait_s: float) -> Iterator[Event]:
        """What they have said, waiting for it for so long. One that has died says so here: `event` is "died", `how`
        in words."""
        over = [member for member in self._members if member.process.poll() is not None]
        ready, _, _ = select.select([member.pipe for member in self._members], [], [], 0 if over else wait_s)
        for member in self._members:
            if member in over or member.pipe in ready:
                yield from _said(member)
        for member in over:
            code = member.process.poll() or 0
            member.process.end()
            self._members.remove(member)
            os.close(member.pipe)
            if not member.last:
                yield {"worker": member.number, "event": "died", "how": _how(code)}

    def end(self) -> None:
        """End those that still run, and all that they have started."""
        self.send(signal.SIGTERM)
        for member in self._members:
            member.process.end(END_GRACE_S)
            os.close(member.pipe)
        self._members = []


def _said(member: _Member) -> Iterator[Event]:
    """The events that can be read now. A line that is none is left out."""
    while select.select([member.pipe], [], [], 0)[0] and (chunk := os.read(member.pipe, 1 << 16)):
        member.buffer += chunk
    *lines, member.buffer = member.buffer.split(b"\n")
    for line in lines:
        try:
            event: Event = json.loads(line)
        except ValueError:
            continue
        if event["event"] in _LAST:
            member.last = event
        yield event


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # real-time signals have numbers only
        return f"was killed by signal {-code}"
