"""Commands on PATH that stand in for a load generator: they note how they were called, and write what a test gave."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HEAD = """#!{python} -I
import json, os, pathlib, sys, time
argv = sys.argv[1:]
def option(name):
    return argv[argv.index(name) + 1]
seen = {{"argv": argv, "env": dict(os.environ), "cwd": os.getcwd(), "files": {{
    path.name: path.read_text(errors="replace") for path in pathlib.Path(".").iterdir() if path.is_file()}}}}
with open({log!r}, "a") as log:
    log.write(json.dumps(seen) + "\\n")
"""


@dataclass(frozen=True)
class FakeTool:
    """An installed command."""

    command: Path
    log: Path

    @property
    def calls(self) -> list[dict[str, Any]]:
        """argv, env, cwd and the files there, of each call."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def option(self, name: str) -> str:
        """What the last call gave an option."""
        argv: list[str] = self.calls[-1]["argv"]
        return argv[argv.index(name) + 1]


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str = "", version: str | None = None
) -> FakeTool:
    """Write a command and put it on PATH. body: what it does. version: that its environment knows; None: none."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    command, log = folder / "bin" / name, folder / f"{name}.log"
    command.write_text(HEAD.format(python=sys.executable, log=str(log)) + body)
    command.chmod(0o755)
    if version is not None:
        info = folder / "lib" / "python3.11" / "site-packages" / f"{name}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return FakeTool(command, log)
