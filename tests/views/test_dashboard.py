"""The Optuna dashboard opens a study, finished or running, and shows what it measured, our note and our figures."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

pytest.importorskip("optuna_dashboard")

from planner.campaign.observers import Observer, Observers
from planner.ledger.optuna_private import written_at_once
from planner.study import open_study
from planner.views import dashboard
from planner.views.dashboard import DashboardWriter, _with_the_old, save
from tests.conftest import Bench, Ran

PATIENCE_S = 60


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=30) as reply:
        assert reply.status == 200
        return json.load(reply)


def until(told: Callable[[], Any]) -> Any:
    """What `told` says once it says anything."""
    end = time.monotonic() + PATIENCE_S
    while not (found := told()):
        assert time.monotonic() < end, "the dashboard never showed it"
        time.sleep(0.1)
    return found


@pytest.fixture
def served(process: Any, tmp_path: Path) -> Callable[[Path], tuple[Any, str]]:
    """The real command on a free port; the process, and the address of the study's data."""

    def serve(study: Path) -> tuple[Any, str]:
        told = tmp_path / "where.json"
        server = process("dashboard", study, "--port", 0, "--no-open", "--json", told)
        line = server.stdout.readline()
        assert "http://127.0.0.1:" in line, server.stderr.read()
        assert json.loads(told.read_text())["url"] == line.split(": ", 1)[1].strip()
        return server, line.split(": ", 1)[1].strip().replace("/dashboard/", "/api/") + "?after=0"

    return serve


def with_levels(given: Bench, *levels: str) -> Bench:
    data = yaml.safe_load(given.study.read_text())
    given.study.write_text(yaml.safe_dump({**data, "slo": list(levels)}))
    return given


def test_the_dashboard_shows_a_finished_study(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], served: Any, tmp_path: Path
) -> None:
    given = with_levels(bench(fails=32, stop={"trials": 12}), "latency_ms <= 10")
    ran = sweepwise("run", given.study, "--quiet")
    assert ran.code == 0, ran.err
    server, address = served(given.study)
    detail = until(lambda: (found := get(address))["plotly_graph_objects"] and found)

    assert detail["name"] == "bench"
    assert detail["directions"] == ["minimize"]
    assert [objective if isinstance(objective, str) else objective["name"] for objective in detail["objective_names"]] \
        == ["latency_ms"]
    states = [trial["state"] for trial in detail["trials"]]
    assert len(states) == 12
    assert {"Complete", "Fail"} == set(states)
    for trial in detail["trials"]:
        point = {p["name"]: float(p["param_external_value"]) for p in trial["params"]}
        latency = 2 + point["input_len"] * point["batch_size"] / 100
        if trial["state"] == "Fail":
            assert trial["constraints"] == []
            assert any("out of memory" in attr["value"] for attr in trial["user_attrs"] if attr["key"] == "reason")
        else:
            assert float(trial["values"][0]) == pytest.approx(latency)
            assert trial["constraints"] == pytest.approx([latency - 10])
    assert {trial["constraints"][0] > 0 for trial in detail["trials"] if trial["constraints"]} == {True, False}

    note = detail["note"]["body"]
    failed = states.count("Fail")
    for said in ("sweepwise: bench", f"12 ({failed} failed)", f"{12 - failed} of 24", "`latency_ms <= 10`",
                 "experiments_gain", "estimated accuracy"):
        assert said in note
    figures = {found["id"]: json.loads(found["graph_object"]) for found in detail["plotly_graph_objects"]}
    assert {"course", "surface-latency_ms"} <= set(figures)
    assert all(figure["data"] for figure in figures.values())
    see_in_chromium(address, tmp_path, "sweepwise: bench")

    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=30) == 0
    assert server.stderr.read() == ""


def see_in_chromium(address: str, directory: Path, text: str) -> None:
    """The note's page as a browser draws it, where there is a browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        return
    page = address.replace("/api/", "/dashboard/").replace("?after=0", "/note")
    observations = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory / 'browser'}",
         "--virtual-time-budget=10000", "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True)
    assert text in observations.stdout


def test_a_run_and_a_busy_page_do_not_disturb_each_other(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run writes note and figures at every checkpoint, while the page is requested again and again."""
    monkeypatch.setattr(dashboard, "_SHARE", float("inf"))
    given = bench(stop={"trials": 4}, sleep_s=0.1)
    assert sweepwise("run", given.study, "--quiet").code == 0
    _, address = served(given.study)
    data = yaml.safe_load(given.study.read_text())
    given.study.write_text(yaml.safe_dump({**data, "stop": {"trials": 16, "accuracy": 0.999}}))
    over, wrong, runs = threading.Event(), [], []

    def poll() -> None:
        while not over.is_set():
            try:
                detail = get(address)
                runs.append(len(detail["trials"]))
                for found in detail["plotly_graph_objects"]:
                    json.loads(found["graph_object"])  # never half of one figure and half of the next
            except Exception as error:
                wrong.append(error)

    polling = threading.Thread(target=poll)
    polling.start()
    try:
        ran = sweepwise("run", given.study)
    finally:
        over.set()
        polling.join()
    assert ran.code == 0, ran.err
    assert not wrong
    assert len(set(runs)) > 1  # it was asked while the run went on
    assert get(address)["note"]["version"] >= 3
    assert "16" in get(address)["note"]["body"]


# ------------------------------------------------------------------------------------------------ nothing breaks a run


class Clock:
    """Seconds as told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


SEEN: Any = SimpleNamespace(runs=[], spent=0.0)


class Answers:
    """What a writer asks, answered with nothing."""

    def written_at_once(self) -> Any:
        return contextlib.nullcontext(SEEN)

    def checkpoints(self, observations: Any, count: int) -> list[Any]:
        return []

    def overview(self, observations: Any, posterior: Any, taken: Any) -> Any:
        return SEEN


def posterior() -> Any:
    from planner.models.grid_model import Prediction
    from planner.strategies.strategy import Posterior

    nothing: Any = None
    return Posterior(Prediction({}, {}, {}, {}), {}, np.ones(3), nothing)


@pytest.mark.parametrize("cost_s", [0.5, 4.0])
def test_writing_takes_a_fiftieth_of_the_time(monkeypatch: pytest.MonkeyPatch, cost_s: float) -> None:
    clock, writes = Clock(), []

    def slow(*_: object) -> None:
        writes.append(clock.now)
        clock.now += cost_s

    monkeypatch.setattr(dashboard, "save", slow)
    writer = DashboardWriter(Answers(), clock)
    while clock.now < 4000:
        clock.now += 5.0
        writer.checkpoint(posterior(), SEEN)
    assert writes[0] >= 50
    assert len(writes) * cost_s <= 0.0201 * clock.now
    assert len(writes) * cost_s >= 0.015 * clock.now


@pytest.mark.parametrize("error", [RuntimeError("x"), optuna.exceptions.StorageInternalError("locked"), KeyError("k")])
def test_errors_stay_in_the_writer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    clock, calls = Clock(), []

    def broken(*_: object) -> None:
        calls.append(clock.now)
        raise error

    monkeypatch.setattr(dashboard, "save", broken)
    writer = DashboardWriter(Answers(), clock)
    clock.now = 1000.0
    writer.checkpoint(posterior(), SEEN)
    writer.finish(posterior(), SEEN, "trials")
    assert calls
    assert writer.trouble.startswith(type(error).__name__)


def test_without_the_package_a_run_is_as_ever(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "_SHARE", float("inf"))
    monkeypatch.setattr("planner.space.plugins.dashboard_installed", lambda: False)
    monkeypatch.setattr(dashboard, "save", lambda *_: pytest.fail("nothing may be written"))
    given = bench(stop={"trials": 6, "accuracy": 0.999})
    assert sweepwise("run", given.study, "--quiet").code == 0
    ran = sweepwise("dashboard", given.study, "--no-open")
    assert (ran.code, ran.out) == (2, "")
    assert "pip install 'sweepwise[dashboard]'" in ran.err
    assert ran.err.count("\n") == 1


def test_a_study_that_never_ran_and_a_port_that_is_taken(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], served: Any
) -> None:
    given = bench(stop={"trials": 2})
    ran = sweepwise("dashboard", given.study, "--no-open")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "`sweepwise run` creates it" in ran.err
    assert sweepwise("run", given.study, "--quiet").code == 0
    _, address = served(given.study)
    port = address.split(":")[2].partition("/")[0]
    ran = sweepwise("dashboard", given.study, "--no-open", "--port", port)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"--port: cannot listen on 127.0.0.1:{port}" in ran.err
    assert ran.err.startswith("sweepwise: --port")


# ------------------------------------------------------------------------------------------------------------- writing


def test_a_persons_words_are_kept() -> None:
    first = _with_the_old("ours", "theirs, from before")
    second = _with_the_old("ours, anew", first)
    assert second.startswith("ours, anew\n")
    assert second.count("theirs, from before") == second.count("Below: yours, and kept.") == 1
    assert "ours\n" not in second
    assert _with_the_old("ours", _with_the_old("ours", "")) == _with_the_old("ours", "")


def test_a_storage_of_another_make_is_written_one_by_one(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran]
) -> None:
    """The fast way knows Optuna's tables; where they are others, its own functions do the same."""
    given = bench(stop={"trials": 5})
    assert sweepwise("run", given.study, "--quiet").code == 0
    study = open_study(given.study)
    overview, own = study.overview(), study.optuna_study()
    written = []
    for fast in (True, False):
        record = optuna.create_study() if not fast else own
        with written_at_once(record) as draft:
            save(draft, overview, "so far")
        attributes = record._storage.get_study_system_attrs(record._study_id)
        written.append({key: value for key, value in attributes.items() if key.startswith("dashboard:")})
    assert written[0] == written[1]
    assert len(written[0]) > 5


def test_a_smaller_figure_leaves_nothing_of_the_larger_one() -> None:
    from optuna_dashboard import get_note, save_note

    storage = optuna.storages.RDBStorage("sqlite:///:memory:")
    study = optuna.create_study(storage=storage)
    for body in ("x" * 9000, "short"):
        with written_at_once(study) as draft:
            save_note(draft, body)
        assert get_note(study) == body


def test_several_observers_hear_the_same() -> None:
    only: list[tuple[str, str, object]] = []

    class Ear(Observer):
        def __init__(self, name: str) -> None:
            self.name = name

        def started(self, point: Any, observations: Any) -> None:
            only.append((self.name, "started", point))

        def finished(self, run: Any, observations: Any) -> None:
            only.append((self.name, "finished", run))

        def checkpoint(self, posterior: Any, observations: Any) -> None:
            only.append((self.name, "learned", posterior))

        def begun(self, observations: Any) -> None:
            only.append((self.name, "begun", observations))

        def ended(self, reason: Any, observations: Any) -> None:
            only.append((self.name, "ended", reason))

    both: Any = Observers(Ear("a"), Ear("b"))
    both.begun(0)
    both.started(1, SEEN)
    both.finished(2, SEEN)
    both.checkpoint(3, SEEN)
    both.ended("grid", SEEN)
    told = (("begun", 0), ("started", 1), ("finished", 2), ("learned", 3), ("ended", "grid"))
    assert only == [(name, what, value) for what, value in told for name in "ab"]
