"""A PostgreSQL server of our own, in a temporary directory, for as long as the tests run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

_NUMBERS = count()


def server_binaries() -> Path | None:
    """Where `initdb` and `postgres` lie: on the path, or where Debian hides them."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def unprivileged() -> dict[str, int]:
    """Whom the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = [name for name in ("postgres", "nobody") if any(user.pw_name == name for user in pwd.getpwall())]
    user = pwd.getpwnam(names[0])
    return {"user": user.pw_uid, "group": user.pw_gid}


class Server:
    """A server that can be stopped and started again; it listens on a socket in a private directory only."""

    def __init__(self, binaries: Path, place: str) -> None:
        self.place, self._binaries, self._user = place, binaries, unprivileged()
        if self._user:
            os.chown(place, self._user["user"], self._user["group"])
        subprocess.run([binaries / "initdb", "-D", Path(place, "data"), "-U", "tests", "-A", "trust", "-E", "UTF8",
                        "--no-sync"], check=True, capture_output=True, cwd=place, **self._user)
        rules = Path(place, "data", "pg_hba.conf")
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())  # a user who needs a password
        self.start()

    def start(self) -> None:
        """Return when it answers."""
        # Only the order of transactions matters here, not the disk.
        settings = {"listen_addresses": "", "unix_socket_directories": self.place, "fsync": "off",
                    "max_connections": "60"}
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", Path(self.place, "data"),
             *(f"--{key}={value}" for key, value in settings.items())],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.place, **self._user)
        run_sql(self.place, "SELECT 1", tries=200, server=self._process)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Return when it has ended. SIGINT: in good order, but without waiting for its clients."""
        self._process.send_signal(how)
        self._process.wait(20)


@pytest.fixture(scope="session")
def postgresql_process() -> Iterator[Server]:
    """The server. A test that stops it must start it again."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    # Not pytest's own directory: its parents are closed to other users, and a socket's path has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as place:
        server = Server(binaries, place)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # at once: nobody needs the data any more


@pytest.fixture(scope="session")
def postgresql_server(postgresql_process: Server) -> str:
    """The address of the server without its database's name."""
    return f"postgresql+psycopg://tests@/{{}}?host={postgresql_process.place}"


def run_sql(place: str, text: str, tries: int = 1, server: subprocess.Popen[bytes] | None = None) -> None:
    """Execute one statement as soon as the server answers."""
    for left in reversed(range(tries)):
        try:
            with psycopg.connect(host=place, user="tests", dbname="postgres", autocommit=True) as connection:
                connection.execute(text)
            return
        except psycopg.OperationalError:
            if not left or (server is not None and server.poll() is not None):
                raise
            time.sleep(0.05)


@pytest.fixture
def postgresql(postgresql_server: str) -> Callable[[], str]:
    """Makes an empty database; its address."""
    place = postgresql_server.rpartition("=")[2]

    def make() -> str:
        name = f"test{next(_NUMBERS)}"
        run_sql(place, f"CREATE DATABASE {name}")
        return postgresql_server.format(name)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database of each kind; its address."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("postgresql")
        return make
    return lambda: f"sqlite:///{tmp_path / f'{next(_NUMBERS)}.db'}"
