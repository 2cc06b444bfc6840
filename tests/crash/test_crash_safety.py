"""Studies of each kind that are harmed at a random moment lose nothing, leave nothing, and reach their end.

    SWEEPWISE_KILLS=200 pytest tests/crash    # so many of all kinds and faults, two seconds each
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from runners.fork_server import ForkServer
from tests.crash.draws import PAIRS, draws
from tests.crash.faults import FAULTS
from tests.crash.studies import KINDS
from tests.crash.trial import harm
from tests.crash.workers import together

FEW = [("static", "SIGKILL to group", 1), ("static", "truncated", 3), ("served", "SIGKILL to importing", 2),
       ("command", "SIGKILL to main", 1), ("command", "SIGTERM to child", 5), ("replay", "locked", 2)]
COUNT = int(os.environ.get("SWEEPWISE_KILLS", "0"))


@pytest.mark.parametrize(("kind", "fault", "seed"), draws(0, COUNT) or FEW)
def test_a_harmed_study_goes_on(kind: str, fault: str, seed: int, tmp_path: Path, starter: ForkServer) -> None:
    assert harm(kind, fault, seed, tmp_path, starter).cut <= 1


def test_every_kind_meets_every_fault_that_it_can_have() -> None:
    assert {kind for kind, _, _ in FEW} == set(KINDS)
    assert {pair[:2] for pair in draws(0, len(PAIRS))} == set(PAIRS) and len(PAIRS) > 80
    assert {fault for _, fault in PAIRS} == set(FAULTS)


@pytest.mark.parametrize(("limit", "database"), [("trials", "sqlite"), ("cost", "postgresql")])
def test_many_workers_of_which_some_are_killed(
    limit: str, database: str, tmp_path: Path, starter: ForkServer, request: pytest.FixtureRequest
) -> None:
    url, server = "", None
    if database == "postgresql":
        url, server = request.getfixturevalue("postgresql")(), request.getfixturevalue("postgresql_process")
    number = 8 if COUNT else 3
    together(limit, url, tmp_path, starter, Random(1), number, number // 2, server)
