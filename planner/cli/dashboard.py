"""The verb that shows a study in Optuna's dashboard."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import webbrowser
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from planner.cli.app import (
    JsonOption,
    NameOption,
    QuietOption,
    SeedOption,
    StorageOption,
    StudyArgument,
    app,
    complain,
    console,
    opened,
    write_json,
)
from planner.space.types import StudyError

if TYPE_CHECKING:
    from planner.study import Study

__all__: list[str] = []


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: a line for every poll would be noise."""


@app.command()
def dashboard(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    port: Annotated[int, typer.Option(
        "--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 shows it to the network.")]
    = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Show the study in Optuna's dashboard, with our note and figures, until Ctrl-C. A run may go on meanwhile."""
    subject = opened(study, storage, name, seed)
    found = subject.dashboard()
    server = _server(found.application, host, port)
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{server.server_port}/{found.page}"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    write_json(json_file, {"study": subject.name, "url": address})
    console(quiet).print(f"{subject.name}: {address}\nCtrl-C ends the dashboard; it stops no run", soft_wrap=True)
    sys.stdout.flush()
    if not no_open:
        webbrowser.open(address)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            for ending in (signal.SIGINT, signal.SIGTERM):  # a shell's background job begins with Ctrl-C ignored
                signal.signal(ending, signal.default_int_handler)
            _refresh(subject)
            serving.join()
    finally:
        server.shutdown()
        server.server_close()


def _server(application: Any, host: str, port: int) -> WSGIServer:
    try:
        return make_server(host, port, application, server_class=_Server, handler_class=_Silent)
    except socket.gaierror as error:
        raise StudyError(f"--host: '{host}' is no address of this machine; try 127.0.0.1") from error
    except OSError as error:
        raise StudyError(f"--port: cannot listen on {host}:{port} ({error.strerror}); give another, or 0 for a free "
                         "one") from error


def _refresh(subject: Study) -> None:
    """Write note and figures again; where they cannot be written that is said, and the dashboard is shown all the
    same."""
    from planner.views.dashboard import save

    try:
        overview = subject.overview()
        reason = overview.status.stopped
        with subject.written_at_once() as record:
            save(record, overview, f"stopped ({reason})" if reason else "not finished")
    except Exception as error:
        complain(f"the note and the figures could not be written ({error})")
