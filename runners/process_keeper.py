"""The parent of one child of ours: what the child starts stays below it, wherever that goes, until it ends with us.

Linux gives a process whose parent has ended to the nearest *subreaper* above it. The keeper is one: a daemon that has
left its session, its parents and its environment is still found below it. It reads from a pipe whose only write end is
ours; where that closes, however we end, it ends all that is below it, the guard alive or not. It waits in a system
call otherwise, and is gone once nothing is below it.

Its arguments: the number of that pipe, that of the pipe to report to, the name and value of an environment variable for
the child, the child's command. It reports a line with the child's number, or ! and why it could not be started; then a
line with how it ended. The child stays a zombie until nobody reads the report any more: until then its number must not
be another's. Imports the standard library only: it must start at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final, NoReturn

from runners.process_table import GRACE_S, end_processes, find

__all__ = ["main"]

_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
_GUARD_FIRST_S: Final = 1.0
"""Seconds that the guard has to end all that it knows of: it also removes shared memory, which a process that has ended
no longer shows."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Start the child; return when nothing is below us any more."""
    life, report, name, marks, *command = sys.argv[2:]
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if select.select([int(life)], [], [], 0)[0]:
        return  # they have ended meanwhile
    _become_subreaper()
    wake, woken = os.pipe()
    for descriptor in (wake, woken):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # or nothing is written to the pipe
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for descriptor in (int(life), int(report)):  # not the child's
        os.set_inheritable(descriptor, False)
    failed, fails = os.pipe()
    pid = os.fork()
    if not pid:
        os.environ[name] = marks
        _execute(command, {number for number, was in before.items() if was is signal.SIG_IGN}, fails)
    os.close(fails)
    _let_go({int(life), int(report), wake, woken, failed})
    why = os.read(failed, 64)
    os.close(failed)
    with contextlib.suppress(OSError):  # nobody waits for it any more
        os.write(int(report), b"!%b\n" % why if why else b"%d\n" % pid)
    _Keeper(pid, int(life), int(report), wake).keep()


def _become_subreaper() -> None:
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _execute(command: list[str], ignored: set[int], fails: int) -> NoReturn:
    """Be the child. What Python ignores for itself a program expects at its default."""
    try:
        os.setsid()
        for number in {*_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD} - ignored:
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(fails, b"%d" % (error.errno or 0))
    finally:
        os._exit(127)


def _let_go(kept: set[int]) -> None:
    """Close what belongs to the child alone: its pipes must end when it does."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for text in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names
        if int(text) > 2 and int(text) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(text))


class _Keeper:
    """Waits for all that is below us. child: the one that was asked for."""

    def __init__(self, child: int, life: int, report: int, wake: int) -> None:
        self._child, self._life, self._report, self._wake = child, life, report, wake
        self._reported = self._released = False
        self._poll = select.poll()
        self._poll.register(life, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        self._poll.register(report, 0)  # tells when nobody reads it any more

    def keep(self) -> None:
        """Return when nothing is left."""
        while self._reap():
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._report in ready:
                self._released = True
                self._poll.unregister(self._report)
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 1 << 16)
            if self._life in ready:
                self._released = True
                self._end_all()
                return

    def _reap(self) -> bool:
        """Take note of all that have ended; whether any is left."""
        while True:
            try:
                if self._reported and self._released:
                    if not os.waitpid(-1, os.WNOHANG)[0]:
                        return True
                    continue
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None or (self._reported and ended.si_pid == self._child):
                return True
            if ended.si_pid != self._child:
                os.waitpid(ended.si_pid, 0)
            else:
                self._reported = True
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                with contextlib.suppress(OSError):
                    os.write(self._report, b"%d\n" % code)

    def _end_all(self) -> None:
        until = time.monotonic() + _GUARD_FIRST_S
        while self._reap() and time.monotonic() < until and find((), below=os.getpid()):
            time.sleep(0.05)
        end_processes((), grace_s=GRACE_S, reap=self._reap, below=os.getpid())
