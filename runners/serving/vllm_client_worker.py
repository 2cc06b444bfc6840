"""The child process that calls vLLM's `bench serve`. It imports vLLM while its parent starts a server.

    {"run": [command line], "timeout_s": 60}    → {"result": {start_times, queue_times, ttfts, …}}

A load that the client does not take is answered with {"refused": reason}, one whose requests do not end in time with
{"late_s": 60}: they are cancelled. The process stays in use.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["main"]

_KEPT: Final = ("start_times", "queue_times", "ttfts", "latencies", "itls", "output_lens", "input_lens", "errors",
                "duration", "spec_decode_acceptance_rate")


def main() -> None:
    """Serve until standard input ends. The last argument is the descriptor of the pipe for replies."""
    replies_fd = int(sys.argv[-1])
    os.set_inheritable(replies_fd, False)
    from vllm.benchmarks.serve import add_cli_args, main_async

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:  # where earlier versions have it
        from vllm.utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    with os.fdopen(replies_fd, "w") as replies:
        for line in iter(sys.stdin.readline, ""):
            message = json.loads(line)
            replies.write(json.dumps(_answer(parser, main_async, message["run"], message["timeout_s"])) + "\n")
            replies.flush()
    sys.stdout.flush()
    os._exit(0)  # unloading torch would take seconds


def _answer(parser: argparse.ArgumentParser, run: Any, arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
    try:
        result = asyncio.run(asyncio.wait_for(run(parser.parse_args(list(arguments))), timeout_s))
    except TimeoutError:
        return {"late_s": timeout_s}
    except SystemExit:
        return {"refused": f"does not know one of its arguments: {' '.join(arguments)}"}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    return {"result": {key: result[key] for key in _KEPT if key in result}}


if __name__ == "__main__":
    main()
