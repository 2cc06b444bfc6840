"""Eight workers of one study, some killed, the database's server stopped and started meanwhile: what must hold.

As a program, some rounds of each database and limit: `python -m tests.crash.workers --rounds 3`.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import optuna
from optuna.trial import TrialState

from planner.ledger.stop_reason import stop_reason
from runners.fork_server import ForkServer
from tests.crash.studies import Study, make_starter
from tests.ledger.conftest import Server, run_sql, server_binaries
from tests.runners.processes import soon

RUNS: Final = 18
STOPS: Final[Mapping[str, Mapping[str, float]]] = {"trials": {"trials": RUNS}, "cost": {"cost": float(RUNS)}}
PATIENCE_S: Final = 30.0
WITHIN_S: Final = 120.0


def together(
    limit: str, storage: str, folder: Path, starter: ForkServer, rng: Random, workers: int = 8, kills: int = 3,
    server: Server | None = None,
) -> dict[str, Any]:
    """What came of it, in figures. limit: "trials" or "cost". server: one to stop and start. Raises AssertionError."""
    study = Study("replay", folder, starter, STOPS[limit], storage)
    running = [study.start(seed, PATIENCE_S) for seed in range(workers)]
    assert soon(lambda: study.executed() > 2, 60)
    killed = rng.sample(range(workers), kills)
    for number in killed:
        time.sleep(rng.uniform(0, 0.3))
        if running[number].poll() is None:
            os.kill(running[number].pid, signal.SIGKILL)
    if server is not None:
        server.stop()
        time.sleep(rng.uniform(0.2, 1.0))
        server.start()
    codes = [each.wait(WITHIN_S) for each in running]
    for seed, code in enumerate(codes):
        assert code == 0 or (seed in killed and code == -signal.SIGKILL), (code, study.said(seed))
        assert not study.said(seed), study.said(seed)
    at_once = _counted(study)
    last = study.start(99, PATIENCE_S)  # what a killed worker had in hand when all others had ended
    assert last.wait(WITHIN_S) == 0, study.said(99)
    _check(study, limit, lost=codes.count(-signal.SIGKILL))
    return {"killed": codes.count(-signal.SIGKILL), "counted before the last": at_once, "counted": _counted(study),
            "executed": study.executed(), "trials": len(study.trials())}


def _counted(study: Study) -> int:
    return sum(one.get("status") != "interrupted" for one in study.finished().values())


def _check(study: Study, limit: str, lost: int) -> None:
    trials = study.trials()
    assert Counter(trial.state for trial in trials)[TrialState.COMPLETE] == RUNS
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    points = Counter(tuple(sorted(t.params.items())) for t in trials if t.state is TrialState.COMPLETE)
    assert max(points.values()) == 1
    assert RUNS <= study.executed() <= RUNS + lost, "each kill costs the run in hand at most"
    assert stop_reason(optuna.load_study(study_name="crash", storage=study.storage)) == limit
    assert not study.left()


def main() -> None:
    """Print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    starter, binaries = make_starter(), server_binaries()
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as place:
        server = Server(binaries, place) if binaries is not None else None
        for seed in range(given.first, given.first + given.rounds):
            for limit in STOPS:
                for kind in ("sqlite", "postgresql") if server else ("sqlite",):
                    _one_round(seed, limit, kind, starter, server)
        if server is not None:
            server.stop(signal.SIGQUIT)
    starter.close()


def _one_round(seed: int, limit: str, kind: str, starter: ForkServer, server: Server | None) -> None:
    url = ""
    if kind == "postgresql" and server is not None:
        run_sql(server.place, f"CREATE DATABASE r{seed}{limit}")
        url = f"postgresql+psycopg://tests@/r{seed}{limit}?host={server.place}"
    folder = Path(tempfile.mkdtemp(prefix="crash"))
    found = together(limit, url, folder, starter, Random(f"{limit} {seed}"), server=server if url else None)
    print(kind, limit, seed, found, flush=True)


if __name__ == "__main__":
    main()
