"""The process that a ForkServer is: it has imported what its children need, and forks them on request.

Messages over the socket on descriptor 0, one JSON object each:

    → {"modules": [...], "paths": [...]}                       what to import, after these paths are on sys.path
    ← {"import_s": 12.3} or {"reason": "why nothing may be forked"}
    → {"module", "arguments", "environment", "cwd", "cores"}   with descriptors: status, stdin, stdout, stderr, others
    ← {"pid": 123} or {"reason": "why this one was not forked"}

A child runs the module as `python -m` would, in a session of its own, with these variables and descriptors and nothing
else of this process, but for variables that the imports have set. An argument {"descriptor": k} is the number that the
k-th of the others has there. When a child ends, its exit status (negative: the signal) is written to its status
descriptor; its number stays taken until nobody reads that any more. When the socket ends, so do we; the process that
started us ends the children.

Nothing here may touch a device: a fork of a process that has initialised one cannot use it. That is checked.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, Final, NoReturn

__all__ = ["main"]

_MESSAGE_BYTES: Final = 1 << 20
_MOST_DESCRIPTORS: Final = 253
"""SCM_MAX_FD of Linux. A child may hold a lock for each core of its machine."""
_DEVICES: Final = ("cuda", "xpu")


def main() -> None:
    """Serve until the socket ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.perf_counter()
    with socket.socket(fileno=os.dup(0)) as requests:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        message = requests.recv(_MESSAGE_BYTES)
        if not message:
            return
        before = dict(os.environ)
        reason = _import(json.loads(message))
        _send(requests, {"reason": reason} if reason else {"import_s": time.perf_counter() - began})
        if not reason:
            _Children(requests, before, dict(os.environ)).serve()


def _import(asked: dict[str, Any]) -> str:
    """Import what is asked for; why nothing may be forked, empty if nothing speaks against it."""
    sys.path += asked["paths"]
    try:
        for name in asked["modules"]:
            importlib.import_module(name)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared
    return _why_not_fork()


def _why_not_fork() -> str:
    """Why children of this process could not use a device. A child is asked: only there torch knows that a device has
    been touched without being initialised."""
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    pid = os.fork()
    if not pid:
        os._exit(next((code for code, name in enumerate(_DEVICES, 1) if _is_spoilt(torch, name)), 0))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "" if code == 0 else f"importing has touched {_DEVICES[code - 1]}"


def _is_spoilt(torch: Any, name: str) -> bool:
    device = getattr(torch, name, None)
    return device is not None and bool(device.is_initialized() or device._is_in_bad_fork())


class _Children:
    """The children. before, after: the variables before and after the imports."""

    def __init__(self, requests: socket.socket, before: dict[str, str], after: dict[str, str]) -> None:
        self._requests = requests
        self._before, self._after = before, after
        self._running: dict[int, tuple[int, int]] = {}  # by the descriptor that tells of the end: number, status
        self._ended: dict[int, int] = {}  # number, by its status descriptor
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)

    def serve(self) -> None:
        """Fork children, and report how they end, until the socket ends."""
        while True:
            for ready, _ in self._poll.poll():
                if ready in self._running:
                    self._report(ready)
                elif ready in self._ended:
                    self._forget(ready)
                elif not self._fork():
                    return

    def _fork(self) -> bool:
        """Fork the child that the next message asks for; False at the end of messages."""
        message, descriptors, _, _ = socket.recv_fds(self._requests, _MESSAGE_BYTES, _MOST_DESCRIPTORS)
        if not message:
            return False
        sys.stdout.flush()
        sys.stderr.flush()
        status, *given = descriptors
        try:
            pid = os.fork()
            if not pid:
                self._become(json.loads(message), status, given)
            watch = os.pidfd_open(pid)
        except OSError as error:
            os.close(status)
            _send(self._requests, {"reason": str(error)})
            return True
        finally:
            for descriptor in given:
                os.close(descriptor)
        self._running[watch] = pid, status
        self._poll.register(watch, select.POLLIN)
        _send(self._requests, {"pid": pid})
        return True

    def _report(self, watch: int) -> None:
        """Say how a child ended. It stays a zombie: until it is forgotten, its number must not be another's."""
        pid, status = self._running.pop(watch)
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        self._poll.unregister(watch)
        os.close(watch)
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        with contextlib.suppress(OSError):
            os.write(status, b"%d\n" % code)
        self._ended[status] = pid
        self._poll.register(status, 0)  # tells when nobody reads it any more

    def _forget(self, status: int) -> None:
        os.waitpid(self._ended.pop(status), 0)
        self._poll.unregister(status)
        os.close(status)

    def _become(self, asked: dict[str, Any], status: int, given: list[int]) -> NoReturn:
        """Be the child: never returns into the loop of the process that it was forked from."""
        code = 1
        try:
            os.setsid()
            os.close(status)
            self._requests.close()
            for watch, (_, other) in self._running.items():
                os.close(watch)
                os.close(other)
            for other in self._ended:
                os.close(other)
            asked["environment"] |= {
                name: value for name, value in self._after.items()
                if value != self._before.get(name) and asked["environment"].get(name) == self._before.get(name)}
            arguments = _take(asked, given)
            code = _run(asked["module"], arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _take(asked: dict[str, Any], given: list[int]) -> list[str]:
    """Take over descriptors, variables, directory and cores; the arguments."""
    for number, descriptor in enumerate(given[:3]):  # all above 2: these three are always open here
        os.dup2(descriptor, number)
        os.close(descriptor)
    others = given[3:]
    for descriptor in others:
        os.set_inheritable(descriptor, True)
    os.environ.clear()
    os.environ.update(asked["environment"])
    if asked["cwd"]:
        os.chdir(asked["cwd"])
    if asked["cores"]:
        os.sched_setaffinity(0, asked["cores"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return [str(others[argument["descriptor"]]) if isinstance(argument, dict) else argument
            for argument in asked["arguments"]]


def _run(module: str, arguments: list[str]) -> int:
    """Run the module as the main program; its exit status."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


def _send(requests: socket.socket, message: dict[str, Any]) -> None:
    requests.send(json.dumps(message).encode())
