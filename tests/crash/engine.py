"""Stands for the process of a vLLM engine: it takes a moment, holds shared memory, and has a rank of its own.

It answers as runners/vllm_worker.py does, and writes a line to the file $CRASH_LOG for each run that it has made.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until standard input ends. The last argument is the descriptor of the pipe for replies."""
    replies_fd = int(sys.argv[-1])
    os.set_inheritable(replies_fd, False)
    memory = None
    with os.fdopen(replies_fd, "w") as replies:
        for line in iter(sys.stdin.readline, ""):
            asked = json.loads(line)
            if memory is None:
                memory, answer = _shared_memory(), {"parts": {"import": 0.0, "first steps": 0.0}}
                subprocess.Popen(["sleep", "1000"])
                time.sleep(0.05)
            else:
                answer = _measured(asked["run"])
            replies.write(json.dumps(answer) + "\n")
            replies.flush()
    os._exit(0)


def _measured(asked: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.04)
    with Path(os.environ["CRASH_LOG"]).open("a") as log:
        log.write(f"{asked['input_len']} {asked['batch_size']}\n")
    length, times = asked["output_len"], [0.001 * (token + 1) for token in range(asked["output_len"])]
    metrics = {str(length): {"e2el_ms": 10.0 + asked["input_len"] * asked["batch_size"] / 100}}
    return {"warmup_s": 0.0, "measure_s": 0.04, "warmups": [], "repeats": [times] * asked["repeats"],
            "metrics": [metrics] * asked["repeats"]}


def _shared_memory() -> mmap.mmap:
    with Path("/dev/shm", f"crash-{os.environ['CRASH_MARK']}-{os.getpid()}").open("w+b") as file:
        file.truncate(4096)
        return mmap.mmap(file.fileno(), 4096)


if __name__ == "__main__":
    main()
