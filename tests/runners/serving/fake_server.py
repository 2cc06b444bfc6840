"""A small server that speaks OpenAI's streaming protocol, and misbehaves as it is told. Standard library only.

In a test's process:   `with FakeServer(Behaviour(ttft_ms=20, slots=4)) as server: … server.base_url … server.log`
As a process:          `python fake_server.py --port 0 --ttft-ms 20 …`; its first line is the port.

A request waits, first come first served, for one of `slots` places; its first token is out `ttft_ms` after it got one,
each other `tpot_ms` after the last. So a closed loop of c clients has, with tokens t and S = ttft + (t - 1) · tpot,
throughput min(c, slots) / S and a median time to first token of ttft + max(0, c / slots - 1) · S.

  POST /v1/completions, /v1/chat/completions   streamed or not; usage where it is asked for; a word is a token
  GET  /health, /version, /v1/models, /metrics  as vLLM has them
  POST /reset_prefix_cache                      counted
  GET  /log                                     what was asked and answered, as JSON
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """What the server does. Shares are of requests, drawn by the seed and the number of the request."""

    ttft_ms: float = 20.0
    """From a free place to the first token."""
    tpot_ms: float = 5.0
    """Between tokens."""
    input_us: float = 0.0
    """More time to the first token for each token of the prompt."""
    load_us: float = 0.0
    """More time between tokens for each other request that has a place."""
    slots: int = 256
    """Requests that are served at once; others wait."""
    error_share: float = 0.0
    """Requests that are answered with HTTP 500."""
    empty_share: float = 0.0
    """Requests that are answered with HTTP 200 and no token."""
    broken_share: float = 0.0
    """Requests whose connection is closed after the first token."""
    dies_after: int | None = None
    """Generations that are begun before the server dies: the next one finds nobody."""
    sick_after: int | None = None
    """Generations that are begun before all others, and /health, are answered with HTTP 500: its engine is dead."""
    ready_s: float = 0.0
    """Time until /health answers 200."""
    tokens: int | None = None
    """Tokens of each answer in place of those that are asked for."""
    model: str = "tiny"
    version: str = "0.32.0"
    seed: int = 0


class Places:
    """The places of the server, given first come first served."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._queue: collections.deque[threading.Event] = collections.deque()
        self.taken = 0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A context that holds one place."""
        turn = threading.Event()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                self.taken += 1
                turn.set()
            else:
                self._queue.append(turn)
        turn.wait()
        try:
            yield
        finally:
            with self._lock:
                if self._queue:
                    self._queue.popleft().set()
                else:
                    self._free += 1
                    self.taken -= 1


class FakeServer:
    """The server in a thread of this process, at a free port unless one is said."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0, dies: Any = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.log: list[dict[str, Any]] = []
        self.resets = 0
        self.began = time.monotonic()
        self.places = Places(self.behaviour.slots)
        self._count = 0
        self._lock = threading.Lock()
        self._dies = dies or self.close
        self._open: set[socket.socket] = set()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer nobody any more, those who wait included. May be called twice."""
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def begin(self) -> tuple[int, str]:
        """Number of a generation that begins, and what is to happen to it."""
        with self._lock:
            number = self._count
            self._count += 1
        given = self.behaviour
        if given.dies_after is not None and number >= given.dies_after:
            threading.Thread(target=self._dies, daemon=True).start()
            return number, "dies"
        if given.sick_after is not None and number >= given.sick_after:
            return number, "error"
        draw = random.Random(f"{given.seed} {number}").random()
        for fate, share in (("error", given.error_share), ("empty", given.empty_share), ("broken", given.broken_share)):
            if draw < share:
                return number, fate
            draw -= share
        return number, "ok"

    @property
    def sick(self) -> bool:
        """Whether the engine is dead, and the server not."""
        return self.behaviour.sick_after is not None and self._count > self.behaviour.sick_after

    def note(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self.log.append(entry)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2048
    owner: FakeServer

    def process_request(self, request: Any, client_address: Any) -> None:
        self.owner._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.owner._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        owner = self.server.owner
        given = owner.behaviour
        if self.path == "/health":
            ready = time.monotonic() - owner.began >= given.ready_s
            self._answer(500 if owner.sick else 200 if ready else 503, b"", "text/plain")
        elif self.path == "/version":
            self._json(200, {"version": given.version})
        elif self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": given.model, "object": "model", "created": 0,
                                                         "owned_by": "vllm", "root": given.model,
                                                         "max_model_len": 131072}]})
        elif self.path == "/metrics":
            lines = [f"vllm:num_requests_running {float(owner.places.taken)}",
                     f"vllm:num_requests_waiting {float(owner.places.waiting)}"]
            self._answer(200, ("\n".join(lines) + "\n").encode(), "text/plain")
        elif self.path == "/log":
            self._json(200, {"requests": owner.log, "resets": owner.resets})
        else:
            self._json(404, {"error": {"message": "Not Found", "code": 404}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/reset_prefix_cache":
            self.server.owner.resets += 1
            self._answer(200, b"", "text/plain")
        elif self.path in {"/v1/completions", "/v1/chat/completions"}:
            self._generate(json.loads(body))
        else:
            self._json(404, {"error": {"message": "Not Found", "code": 404}})

    # ------------------------------------------------------------------------------------------------------ generation

    def _generate(self, asked: dict[str, Any]) -> None:
        owner = self.server.owner
        arrived = time.monotonic()
        number, fate = owner.begin()
        prompt = _prompt(asked)
        count = asked.get("max_completion_tokens") or asked.get("max_tokens") or 16
        count = 0 if fate == "empty" else owner.behaviour.tokens or int(count)
        entry = {"number": number, "fate": fate, "path": self.path, "arrived": arrived, "asked": asked,
                 "prompt_tokens": len(prompt), "prompt": " ".join(map(str, prompt)), "output_tokens": count}
        owner.note(entry)
        if fate == "dies":
            self.close_connection = True
        elif fate == "error":
            self._json(500, {"error": {"message": "made to fail", "type": "InternalServerError", "code": 500}})
        else:
            with owner.places.place():
                due = time.monotonic() + (owner.behaviour.ttft_ms / 1e3 + len(prompt) * owner.behaviour.input_us / 1e6)
                answer = _Answer(asked, "chat" in self.path, owner.behaviour.model, number, len(prompt))
                if asked.get("echo"):
                    self._json(200, answer.echo(prompt))
                    return
                (self._stream if asked.get("stream") else self._whole)(answer, count, due, fate)
            entry["ended"] = time.monotonic()

    def _whole(self, answer: _Answer, count: int, due: float, fate: str) -> None:
        for _ in range(count - 1):
            due += self._step_s()
        _until(due)
        if fate == "broken":
            self.close_connection = True
        else:
            self._json(200, answer.whole(count))

    def _stream(self, answer: _Answer, count: int, due: float, fate: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        _until(due)
        self._events(answer.opening())
        for i in range(count):
            self._events([answer.token(i, last=i == count - 1)])
            if fate == "broken":
                self.close_connection = True
                return
            if i < count - 1:
                due += self._step_s()
                _until(due)
        self._events([*answer.closing(count), "[DONE]"])
        self.wfile.write(b"0\r\n\r\n")

    def _step_s(self) -> float:
        owner = self.server.owner
        return owner.behaviour.tpot_ms / 1e3 + (owner.places.taken - 1) * owner.behaviour.load_us / 1e6

    def _events(self, events: list[Any]) -> None:
        for event in events:
            data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _json(self, status: int, data: Any) -> None:
        self._answer(status, json.dumps(data).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@dataclasses.dataclass(frozen=True)
class _Answer:
    """The chunks of one answer."""

    asked: dict[str, Any]
    chat: bool
    model: str
    number: int
    prompt_tokens: int

    def opening(self) -> list[Any]:
        if not self.chat:
            return []
        return [self._chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], 0)]

    def token(self, i: int, last: bool) -> Any:
        text, reason = f" w{3 + (self.number + i) % 997}", "length" if last else None
        piece: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        return self._chunk([{"index": 0, **piece, "logprobs": None, "finish_reason": reason}], i + 1)

    def closing(self, count: int) -> list[Any]:
        ends: list[Any] = []
        if not count:
            piece: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
            ends.append(self._chunk([{"index": 0, **piece, "finish_reason": "stop"}], 0))
        if self._options.get("include_usage"):
            ends.append({**self._chunk([], count), "usage": self._usage(count)})
        return ends

    def whole(self, count: int) -> Any:
        text = "".join(f" w{3 + (self.number + i) % 997}" for i in range(count))
        piece: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [{"index": 0, **piece, "finish_reason": "length"}],
                "usage": self._usage(count)}

    def echo(self, prompt: list[Any]) -> dict[str, Any]:
        """The prompt with its log-probabilities, and one token: a word of k letters has -k / 10, and is the most likely
        one unless it ends with x."""
        own = [None, *(-len(word) / 10 for word in prompt[1:])]
        best = [None, *(-0.01 if word.endswith("x") else one for word, one in zip(prompt[1:], own[1:], strict=True))]
        top = [None if one is None else {word: one, "best": other}
               for word, one, other in zip(prompt, own, best, strict=True)]
        logs = {"token_logprobs": [*own, -0.5], "top_logprobs": [*top, {"made": -0.5}], "tokens": [*prompt, "made"]}
        return {**self._head("text_completion"), "choices": [{"index": 0, "text": "", "logprobs": logs}],
                "usage": self._usage(1)}

    @property
    def _options(self) -> dict[str, Any]:
        return self.asked.get("stream_options") or {}

    def _chunk(self, choices: list[Any], tokens: int) -> dict[str, Any]:
        chunk = {**self._head("chat.completion.chunk" if self.chat else "text_completion"), "choices": choices}
        if self._options.get("continuous_usage_stats"):
            chunk["usage"] = self._usage(tokens)
        return chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"cmpl-{self.number}", "object": kind, "created": int(time.time()), "model": self.model}

    def _usage(self, tokens: int) -> dict[str, Any]:
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": tokens,
                "total_tokens": self.prompt_tokens + tokens}


def _prompt(asked: dict[str, Any]) -> list[Any]:
    """The tokens of the prompt: its words, or the numbers it came as."""
    messages = asked.get("messages")
    if messages is not None:
        contents = [message.get("content") or "" for message in messages]
        texts = [content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)
                 for content in contents]
        return " ".join(texts).split()
    prompt = asked.get("prompt", "")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    return prompt if isinstance(prompt, list) else str(prompt).split()


def _until(due: float) -> None:
    left = due - time.monotonic()
    if left > 0:
        time.sleep(left)


def main() -> None:
    """Serve until killed; die as a crashed engine does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", choices=["127.0.0.1"])
    for field in dataclasses.fields(Behaviour):
        kind = int if field.name in {"slots", "dies_after", "sick_after", "tokens", "seed"} else type(field.default)
        parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=field.default)
    given = vars(parser.parse_args())
    port = given.pop("port")
    given.pop("host")

    def dies() -> None:
        print("RuntimeError: CUDA error: an illegal memory access was encountered", file=sys.stderr, flush=True)
        os._exit(1)

    with FakeServer(Behaviour(**given), port, dies) as server:
        print(server.port, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
