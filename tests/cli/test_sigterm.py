"""SIGTERM ends a study in good order: nothing stays RUNNING until somebody else finds out."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tests.runners.processes import soon


def test_sigterm_drops_the_run_in_hand_and_closes_it(
    bench: Callable[..., Any], process: Callable[..., subprocess.Popen[str]], trials: Callable[..., list[FrozenTrial]]
) -> None:
    study = bench(inputs=(64,), batches=(1, 2), sleep_s=30)
    running = process("run", study.study, "--strategy", "full")
    assert soon(lambda: len(study.executions()) == 1, 30)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130 and "stopped by hand" in out and "resume with: sweepwise run" in out
    assert err == "\nstopping at once, as SIGTERM asks; the run in hand is dropped\n"
    (cut,) = trials(study.storage, "bench")
    assert (cut.state, cut.user_attrs["measurement"]["status"]) == (TrialState.FAIL, "interrupted")
