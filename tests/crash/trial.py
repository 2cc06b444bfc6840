"""One study that is harmed once at a random moment, and resumed: what must hold afterwards."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import optuna
from optuna.trial import TrialState

from planner.ledger.stop_reason import stop_reason
from runners.fork_server import ForkServer
from tests.crash.faults import FAULTS, Fault, Full, Signal, small_disk
from tests.crash.studies import RUNS, Study
from tests.runners.processes import soon

LENGTH_S: Final = 1.5
"""About as long as a study takes: a harm that waits for no run comes within, mostly before the first."""
AT_ONCE_S: Final = 0.2
"""About as long as planning and making a run take."""
WITHIN_S: Final = 60.0
CODES: Final = {0, 1, 2, 130}


@dataclass(frozen=True)
class Outcome:
    """code: how the harmed study ended. in_time: whether the harm came while it ran. cut: runs that were under way and
    were not recorded, but as interrupted."""

    code: int
    in_time: bool
    cut: int


def harm(kind: str, fault_name: str, seed: int, folder: Path, starter: ForkServer) -> Outcome:
    """Start, harm, resume. Raises AssertionError."""
    rng, fault = Random(f"{kind} {fault_name} {seed}"), FAULTS[fault_name]
    study = Study(kind, folder, starter)
    if isinstance(fault, Full):
        with small_disk(study.database.parent):
            return _harmed(study, fault, rng)
    return _harmed(study, fault, rng)


def _harmed(study: Study, fault: Fault, rng: Random) -> Outcome:
    running = study.start()
    assert soon(lambda: study.began.exists() or running.poll() is not None)
    after = rng.randrange(-2, RUNS)  # runs that are recorded first; a third of harms come while the study begins
    assert soon(lambda: len(study.recorded()) >= after or running.poll() is not None, WITHIN_S)
    time.sleep(rng.uniform(0, AT_ONCE_S if after > 0 else LENGTH_S))
    in_time, before = running.poll() is None, study.recorded()
    if in_time:
        fault.strike(study, rng)
    code = running.wait(WITHIN_S)
    _check_end(study, fault, code)
    if fault.stays and code:
        _check_refused(study)
    fault.clear(study)
    kept = study.finished()
    assert all(kept.get(number) == measurement for number, measurement in before.items())
    again = study.start()
    assert again.wait(WITHIN_S) == 0, study.said()
    _check_end(study, fault, 0)
    _check_record(study, kept)
    return Outcome(code, in_time, sum(one["status"] == "interrupted" for one in study.finished().values()))


def _check_end(study: Study, fault: Fault, code: int) -> None:
    """It ended as it should, and nothing of it is left."""
    by_signal = isinstance(fault, Signal) and fault.ends_main and -code == fault.number
    assert code in CODES or by_signal, (code, study.said())
    _check_said(study)
    gone_at_once = isinstance(fault, Signal) and fault.part == "all"  # nobody is left to remove shared memory
    assert soon(lambda: not study.left() or (gone_at_once and not study.processes())), study.left()


def _check_said(study: Study) -> None:
    """One line, and what Ctrl-C and SIGTERM say."""
    said = [line for line in study.said().splitlines() if line and not line.startswith("stopping a")]
    assert len(said) <= 1 and all(line.startswith("sweepwise: ") for line in said), study.said()


def _check_refused(study: Study) -> None:
    """A damaged record is said in one line."""
    refused = study.start().wait(WITHIN_S)
    assert refused in {1, 2}, (refused, study.said())
    _check_said(study)
    assert study.said()


def _check_record(study: Study, kept: dict[int, Any]) -> None:
    """Nothing is lost, nothing stuck, nothing measured twice, and the study is at its end, not beyond."""
    trials = study.trials()
    now = study.finished()
    assert all(now.get(number) == measurement for number, measurement in kept.items())
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    counted = [trial for trial in trials if trial.user_attrs["measurement"]["status"] != "interrupted"]
    assert len(counted) == RUNS, [trial.user_attrs["measurement"]["status"] for trial in trials]
    points = Counter(tuple(sorted(t.params.items())) for t in counted if t.state is TrialState.COMPLETE)
    assert max(points.values()) == 1
    loaded = optuna.load_study(study_name="crash", storage=study.storage)
    assert stop_reason(loaded) == ("cost" if study.kind == "replay" else "trials")
    spent = len(trials) - len(counted)
    assert spent <= 1, "one harm costs one run"
    if study.kind != "served":
        failed = sum(trial.state is TrialState.FAIL for trial in counted)
        assert len(counted) - failed <= study.executed() <= len(counted) + 1
