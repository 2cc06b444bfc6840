"""One process that has imported the command, for all studies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runners.fork_server import ForkServer, can_fork
from tests.crash.studies import make_starter
from tests.ledger.conftest import postgresql, postgresql_process, postgresql_server  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def starter() -> Iterator[ForkServer]:
    """What forks the processes of studies."""
    if not can_fork():
        pytest.skip("needs Linux")
    made = make_starter()
    yield made
    made.close()
