"""The fake server itself: what the tests of clients rest on."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.runners.serving.fake_server import Behaviour, FakeServer


def post(server: FakeServer, path: str = "/v1/completions", **asked: Any) -> str:
    body = json.dumps({"prompt": "a b c", "max_tokens": 4, **asked}).encode()
    request = urllib.request.Request(server.base_url + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def events(text: str) -> list[Any]:
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]


def test_answers_stream_a_token_an_event() -> None:
    with FakeServer(Behaviour(ttft_ms=1, tpot_ms=1)) as server:
        found = events(post(server, stream=True, stream_options={"include_usage": True}))
        assert [len(one["choices"]) for one in found] == [1, 1, 1, 1, 0]
        assert found[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        assert found[3]["choices"][0]["finish_reason"] == "length"
        chat = events(post(server, "/v1/chat/completions", stream=True, messages=[{"role": "user", "content": "x y"}]))
        assert [one["choices"][0]["delta"].get("content", "") != "" for one in chat] == [False, True, True, True, True]
        assert json.loads(post(server, prompt=[5, 6]))["usage"]["prompt_tokens"] == 2
        assert [entry["prompt_tokens"] for entry in server.log] == [3, 2, 2]


def test_requests_wait_for_a_place() -> None:
    """8 requests of 10 + 4 · 20 ms on 2 places: four after another. No more than that, but for a busy machine."""
    with FakeServer(Behaviour(ttft_ms=10, tpot_ms=20, slots=2)) as server:
        began = time.monotonic()
        threads = [threading.Thread(target=post, args=(server,), kwargs={"stream": True, "max_tokens": 5})
                   for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.36 <= time.monotonic() - began < 3


def test_it_fails_as_it_is_told() -> None:
    with FakeServer(Behaviour(ttft_ms=0, tpot_ms=0, error_share=0.3, empty_share=0.3, broken_share=0.2)) as server:
        for number in range(40):
            fate = ""
            try:
                fate = "ok" if len(events(post(server, stream=True))) == 4 else "empty"
            except urllib.error.HTTPError as error:
                fate = "error" if error.code == 500 else "?"
            except http.client.IncompleteRead:
                fate = "broken"
            assert server.log[number]["fate"] == fate
        assert {entry["fate"] for entry in server.log} == {"ok", "error", "empty", "broken"}


def test_it_dies_and_is_gone() -> None:
    with FakeServer(Behaviour(ttft_ms=0, tpot_ms=0, dies_after=2)) as server:
        post(server)
        post(server)
        with pytest.raises(OSError):
            post(server)
        time.sleep(0.2)
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(server.base_url + "/health", timeout=5)


def test_it_is_a_command_too() -> None:
    command = [sys.executable, str(Path(__file__).with_name("fake_server.py")), "--dies-after", "0", "--ready-s", "0.3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        base = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(base + "/health", timeout=5)
        assert b'"tiny"' in urllib.request.urlopen(base + "/v1/models", timeout=5).read()
        assert json.load(urllib.request.urlopen(base + "/version", timeout=5)) == {"version": "0.32.0"}
        with pytest.raises(OSError):
            urllib.request.urlopen(base + "/v1/completions", b"{}", timeout=5)
        assert process.wait(10) == 1
        assert process.stderr is not None and "CUDA error" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
