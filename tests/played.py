"""A study that has run, and a browser: headless Chromium over its DevTools pipe, which needs no package of its own."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.campaign.loop import Loop
from planner.campaign.observers import Observer
from planner.campaign.setup import StudySetup, open_setup
from planner.ledger.observations import Observations
from planner.space.types import Cost, Measurement, Status
from planner.strategies.strategy import Posterior

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Browser:
    """One tab. `events` holds all messages of the browser; any request but that for the page is in it."""

    def __init__(self, program: str, profile: Path) -> None:
        there_in, self._to = os.pipe()
        self._from, back_in = os.pipe()

        def wire() -> None:  # DevTools reads 3 and writes 4
            os.dup2(there_in, 63)
            os.dup2(back_in, 64)
            os.dup2(63, 3)
            os.dup2(64, 4)

        self._process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
             f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=wire, close_fds=False,  # noqa: PLW1509 - the one way to give a child a certain descriptor
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(there_in)
        os.close(back_in)
        self._rest, self._number = b"", 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        page = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> Any:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._read(30)
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of that size, and wait until its own script says that it is ready."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self("Emulation.setEmulatedMedia",
             features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.events.clear()
        self("Page.navigate", url=page.resolve().as_uri())
        until = time.monotonic() + 60
        while self.run("document.documentElement?.dataset.ready") != "yes":
            assert time.monotonic() < until, f"the page never became ready: {self.complaints}"
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the page, exceptions and blocked requests included."""
        found = []
        for event in self.events:
            what, more = event.get("method"), event.get("params", {})
            if what == "Runtime.exceptionThrown" or (
                    what == "Runtime.consoleAPICalled" and more["type"] in {"error", "warning", "assert"}) or (
                    what == "Log.entryAdded" and more["entry"]["level"] in {"error", "warning"}):
                found.append(json.dumps(more)[:400])
        return found

    @property
    def requests(self) -> list[str]:
        """Every address that the page asked for."""
        return [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]

    def close(self) -> None:
        """End this browser, and no other."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _read(self, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._from, 1 << 20)
            assert piece, "the browser is gone"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        if "id" not in said:
            self.events.append(said)
        return said


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium; what needs it is skipped where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    found = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@dataclass(frozen=True)
class Opened:
    """A study that has run, as a verb has it."""

    path: Path
    study: StudySetup
    observations: Observations
    posterior: Posterior


def rows() -> list[dict[str, Any]]:
    """A static batch by its own formula: two devices are 1.8 times as fast; the largest requests do not fit."""
    found = []
    for devices, inputs, outputs, batch in itertools.product((1, 2), (128, 512, 2048), (1, 16, 64), (1, 2, 4, 8, 16)):
        speed = 1.8 if devices == 2 else 1.0
        first, step = (5 + 0.01 * inputs * batch) / speed, (6 + 0.1 * batch) / speed
        whole = first + step * (outputs - 1)
        fits = inputs * batch < 30_000 * devices
        good = {"ttft_ms": first, "tpot_ms": step if outputs > 1 else "", "e2el_ms": whole,
                "output_throughput": 1000 * batch * outputs / whole}
        found.append({"tensor_parallel_size": devices, "input_len": inputs, "output_len": outputs, "batch_size": batch,
                      "status": "ok" if fits else "out of memory <b>now</b>", "cost_s": whole / 1000,
                      **(good if fits else dict.fromkeys(good, ""))})
    return found


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A study over that grid, some runs long, some of them failed."""
    home = tmp_path_factory.mktemp("figures")
    with (home / "grid.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows()[0]))
        writer.writeheader()
        writer.writerows(rows())
    path = home / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "a <i>study</i>", "storage": f"sqlite:///{home / 'study.db'}"},
        "space": {"axes": {"tensor_parallel_size": {"scale": "log", "scope": "engine"}, "input_len": {"scale": "log"},
                           "output_len": {"scale": "log"}, "batch_size": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": "cost_s", "accelerators": "tensor_parallel_size",
                   "status": "status", "engine_start_s": 1.0, "run_overhead_s": 0.1},
        "targets": ["ttft_ms", "tpot_ms", "output_throughput"], "stop": {"trials": 24},
    }))
    study = open_setup(path)
    ledger = study.create_or_resume()
    observations = ledger.observations(study.grid)
    Loop(study.runner, study.strategy("sweepwise"), ledger, observations, study.limits(), 0, Observer(),
         clock=None).run()
    worst_point = study.grid.find({"tensor_parallel_size": 1, "input_len": 2048, "output_len": 16, "batch_size": 16})
    assert worst_point is not None
    if not observations.failed.any():  # one failure there must be, for what the figures say of failures
        trial, point = ledger.begin(study.grid.point(worst_point), 99)
        ledger.finish(trial, Measurement(Status.FAILED, Cost(0.0, 0.1, 0.5, 1.0), reason="out of memory <b>now</b>"))
        assert point
    observations = ledger.observations(study.grid)
    return Opened(path, study, observations, study.posterior(observations))
