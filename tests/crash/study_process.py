"""`sweepwise` where engine, server and client are stand-ins, and where a database's fault is waited for briefly.

It makes the file $CRASH_BEGAN when the command itself begins, and it is run by a fork server: the imports that the
command needs are there.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import planner.cli
from planner.ledger import patience, storage
from planner.space.types import Measurement, Proposal
from runners import environment, vllm_offline, vllm_process
from runners.replay import ReplayRunner
from runners.serving import runner as serving
from runners.serving import server, vllm_client

FAKE_SERVER = "tests.runners.serving.fake_server"


def main() -> None:
    """As the command; exit handlers run, which a forked process would skip."""
    _stand_in()
    Path(os.environ["CRASH_BEGAN"]).touch()
    try:
        planner.cli.main()
    finally:
        atexit._run_exitfuncs()


def _stand_in() -> None:
    environment.engine_version = lambda: ("vllm", "0")
    vllm_offline.ENGINE_MODULES = serving.SERVER_MODULES = ("tests.crash.slow_import",)  # type: ignore[misc,assignment]
    for module, name, other in ((vllm_process, "runners.vllm_worker", "tests.crash.engine"),
                                (vllm_client, "runners.serving.vllm_client_worker", "tests.crash.client")):
        module._START = module._START.replace(name, other)  # type: ignore[attr-defined]
        module._WORKER = other  # type: ignore[attr-defined]
    serving.module_line = _server_line
    serving.command_line = lambda arguments: [sys.executable, "-m", *_server_line(arguments)]
    server._POLL_S = 0.02  # type: ignore[misc]
    patience._PATIENCE_S = float(os.environ["CRASH_PATIENCE_S"])  # type: ignore[misc]
    storage._LOCK_S = 0.3 * patience._PATIENCE_S  # type: ignore[misc]
    replay = ReplayRunner.measure

    def measured(runner: ReplayRunner, proposal: Proposal) -> Measurement:
        time.sleep(0.05)
        with Path(os.environ["CRASH_LOG"]).open("a") as log:
            log.write(f"{proposal.point['input_len']} {proposal.point['batch_size']}\n")
        return replay(runner, proposal)

    ReplayRunner.measure = measured  # type: ignore[method-assign]


def _server_line(arguments: Mapping[str, Any]) -> list[str]:
    return [FAKE_SERVER, "--model", str(arguments["served_model_name"]), "--ttft-ms", "3", "--tpot-ms", "1"]


if __name__ == "__main__":
    main()
