"""Stands for vLLM's `bench serve` as runners/serving/vllm_client_worker.py calls it: a closed loop over real HTTP."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit


def main() -> None:
    """Serve until standard input ends. The last argument is the descriptor of the pipe for replies."""
    replies_fd = int(sys.argv[-1])
    os.set_inheritable(replies_fd, False)
    with os.fdopen(replies_fd, "w") as replies:
        for line in iter(sys.stdin.readline, ""):
            words = json.loads(line)["run"]
            options = dict(itertools.pairwise(words))
            replies.write(json.dumps({"result": _result(options)}) + "\n")
            replies.flush()
    os._exit(0)


def _result(options: dict[str, str]) -> dict[str, Any]:
    count, tokens = int(options["--num-prompts"]), int(options["--random-output-len"])
    with ThreadPoolExecutor(int(options["--max-concurrency"])) as pool:
        rows = list(pool.map(lambda _: _request(options["--base-url"], tokens), range(count)))
    names = ("start_times", "ttfts", "itls", "latencies", "errors")
    found = dict(zip(names, zip(*rows, strict=True), strict=True))
    return {**found, "output_lens": [0 if error else tokens for error in found["errors"]], "input_lens": [16] * count}


def _request(base_url: str, tokens: int) -> tuple[float, float, list[float], float, str]:
    """When it was sent, seconds to the first token, between the others, to the end, and why it failed."""
    began, times = time.perf_counter(), list[float]()
    try:
        connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
        body = json.dumps({"prompt": list(range(16)), "max_tokens": tokens, "stream": True})
        connection.request("POST", "/v1/completions", body)
        for line in connection.getresponse():
            if line.startswith(b"data: {"):
                times.append(time.perf_counter() - began)
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        return began, 0.0, [], 0.0, f"{type(error).__name__}: {error}"
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    return began, times[0], gaps, times[-1], ""


if __name__ == "__main__":
    main()
