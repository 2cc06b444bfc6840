"""`sweepwise compare`: two recorded machines, equal ones and one that is slower in a corner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Ran, Recorded

FAST: dict[str, Any] = {"outputs": (64,), "batches": (1, 2, 4, 8, 16, 32), "models": ("small",)}


def corner(row: dict[str, Any]) -> bool:
    return bool(row["batch_size"] >= 8 and row["input_len"] >= 512)


def slowed(given: Recorded, factor: float, where: Callable[[dict[str, Any]], bool] = corner) -> Recorded:
    """The same machine, slower by a factor at some points."""
    given.write([
        {**row, "latency_s": row["latency_s"] * factor, "throughput": row["throughput"] / factor}
        if row["status"] == "ok" and where(row) else row for row in given.rows])
    return given


@pytest.fixture
def measured(recorded: Callable[..., Recorded], sweepwise: Callable[..., Ran]) -> Callable[..., Path]:
    """A recorded machine and a study of it that has run: in full, or with ours."""

    def make(
        name: str, seed: int, factor: float = 1.0, strategy: str = "full",
        where: Callable[[dict[str, Any]], bool] = corner, **grid: Any,
    ) -> Path:
        given = slowed(recorded(name, seed=seed, repeats=3, runner={"repeats": 3}, **{**FAST, **grid}), factor, where)
        ran = sweepwise("run", given.study, "--strategy", strategy, "--quiet", "--seed", seed)
        assert ran.code == 0, ran.err
        return given.study

    return make


def test_equal_machines_do_not_alarm(
    measured: Callable[..., Path], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    """Recordings of one machine, each with its own noise, for any seeds."""
    grid = {"noise": 0.03, "inputs": (64, 128, 256, 512, 1024), "stop": {"trials": 10}}
    studies = [measured(f"m{seed}", seed, strategy="sweepwise", **grid) for seed in range(3)]
    differs = 0
    for a, b in [(0, 1), (1, 2), (2, 0)]:
        ran = sweepwise("compare", studies[a], studies[b], "--json", tmp_path / "out.json",
                        "--fail-if", "latency_s rises 5%", "--fail-if", "latency_s drops 5% anywhere")
        assert ran.code == 0, ran.err
        found = json.loads((tmp_path / "out.json").read_text())["targets"]["latency_s"]
        differs += found["better"] + found["worse"] > 0
        assert found["low"] < 1 < found["high"]
        assert found["outside_own_interval"] <= 3 * found["outside_expected_by_chance"]
    assert not differs


def test_a_tenth_slower_in_a_corner(
    measured: Callable[..., Path], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    """Measured in full, with little noise: the corner is named, and nothing else; the exit code says so."""
    a = measured("a", 0, noise=0.004, targets=("latency_s", "throughput"))
    same = measured("same", 2, noise=0.004, targets=("latency_s", "throughput"))
    assert sweepwise("compare", a, same, "--fail-if", "latency_s rises 3% anywhere").code == 0
    b = measured("b", 1, 1.1, noise=0.004, targets=("latency_s", "throughput"))
    report, page = tmp_path / "out.json", tmp_path / "compare.html"
    ran = sweepwise("compare", a, b, "--json", report, "-o", page, "--fail-if", "latency_s rises 5% anywhere")
    assert ran.code == 1
    assert re.fullmatch(r"sweepwise: latency_s rises 5% anywhere: holds; .*input_len=\d+.*\n", ran.err)
    found = json.loads(report.read_text())
    assert found["points"]["common"] == 18
    assert [part["answer"] for part in found["fail_if"]] == ["holds"]
    for target, factor in (("latency_s", 1.1), ("throughput", 1 / 1.1)):
        part = found["targets"][target]
        assert part["worse"] == len(part["worst"]) == 6
        assert all(corner(entry["point"]) for entry in part["worst"])
        assert part["best"] == []
        truth = factor ** (6 / 18)
        assert part["low"] < truth < part["high"]
        for entry in part["worst"]:
            assert entry["low"] <= factor * 1.02
            assert entry["high"] >= factor * 0.98
            assert entry["b"] / entry["a"] == pytest.approx(entry["ratio"])
            assert entry["measured_a"] and entry["measured_b"]
    html = page.read_text()
    assert "http" not in re.findall(r'<script[^>]*src="([^"]*)', html)
    assert "Plotly.newPlot" in html and len(html) > 1_000_000
    assert "6 worse, of 18" in html


def test_predictions_are_not_overconfident(
    measured: Callable[..., Path], answer: Callable[..., Any]
) -> None:
    """Few runs, B half as fast again everywhere: the mean is found, and its interval holds the truth."""
    grid = {"noise": 0.02, "inputs": (64, 128, 256, 512, 1024, 2048), "stop": {"trials": 14}}
    a = measured("a", 0, strategy="sweepwise", **grid)
    b = measured("b", 1, 1.5, strategy="sweepwise", where=bool, **grid)
    found = answer("compare", a, b)["targets"]["latency_s"]
    assert found["low"] < 1.5 < found["high"]
    assert 1.1 < found["ratio"] < 2
    assert found["measured_on_both"] < found["points"]
    for part in found["slices"]:
        assert part["high"] / part["low"] > found["high"] / found["low"]


def test_wide_intervals_say_that_they_cannot_tell(
    measured: Callable[..., Path], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    grid = {"noise": 0.3, "stop": {"trials": 5}}
    a, b = (measured(name, seed, strategy="sweepwise", **grid) for name, seed in (("a", 0), ("b", 1)))
    ran = sweepwise("compare", a, b, "--fail-if", "latency_s rises 1%", "--fail-if", "latency_s rises 1% anywhere",
                    "--json", tmp_path / "out.json")
    assert ran.code == 0
    mean, anywhere = (part["answer"] for part in json.loads((tmp_path / "out.json").read_text())["fail_if"])
    assert mean in {"cannot tell", "does not hold"}
    assert anywhere == "cannot tell"
    assert "latency_s rises 1% anywhere: cannot tell; " in ran.out


def test_grids_that_overlap_in_part(measured: Callable[..., Path], answer: Callable[..., Any]) -> None:
    a = measured("a", 0, batches=(1, 2, 4, 8))
    b = measured("b", 1, batches=(2, 4, 8, 16, 32), inputs=(128, 512))
    points = answer("compare", a, b)["points"]
    assert (points["common"], points["only_a"], points["only_b"]) == (6, 6, 4)


def test_what_fails_on_one_side_only_is_named(
    recorded: Callable[..., Recorded], measured: Callable[..., Path], sweepwise: Callable[..., Ran]
) -> None:
    """Not in the ratios, which have no number for it, but not passed over either."""
    a = measured("a", 0)
    given = recorded("b", seed=1, repeats=3, runner={"repeats": 3}, **FAST)
    given.write([{**row, "status": "out of memory", "latency_s": "", "throughput": "", "ttft_ms": ""}
                 if corner(row) else row for row in given.rows])
    assert sweepwise("run", given.study, "--strategy", "full", "--quiet").code == 0
    ran = sweepwise("compare", a, given.study)
    assert "6 measured points ran in A and failed in B, such as " in ran.out
    assert re.search(r"latency_s +12 ", ran.out)


def test_one_study_file_and_two_names(measured: Callable[..., Path], sweepwise: Callable[..., Ran]) -> None:
    """Two engine versions: the same file, two studies of one storage."""
    study = measured("a", 0)
    assert sweepwise("run", study, "--name", "next", "--strategy", "full", "--quiet", "--seed", 5).code == 0
    ran = sweepwise("compare", study, study, "--name-b", "next")
    assert ran.code == 0, ran.err
    assert "A: a (" in ran.out
    assert "B: next (" in ran.out


def test_bad_options_are_refused_in_one_line(measured: Callable[..., Path], sweepwise: Callable[..., Ran]) -> None:
    study = measured("a", 0, batches=(1, 2), inputs=(128,))
    for options, says in (
        (["--fail-if", "latency_s goes up"], "--fail-if: cannot read 'latency_s goes up'"),
        (["--fail-if", "ttft rises 5%"], "no run gave 'ttft'; did you mean 'ttft_ms'?"),
        (["--target", "latency"], "no run gave 'latency'; did you mean 'latency_s'?"),
        (["-o", "page.txt"], "--output: page.txt does not end in .html"),
        (["--name-b", "other"], "no study 'other'"),
    ):
        ran = sweepwise("compare", study, study, *options)
        assert (ran.code, ran.out) == (2, "")
        assert says in ran.err
        assert ran.err.count("\n") == 1


def test_studies_of_other_metrics_are_refused(
    measured: Callable[..., Path], bench: Any, sweepwise: Callable[..., Ran]
) -> None:
    study = measured("a", 0, batches=(1, 2), inputs=(128,))
    given = bench(stop={"trials": 2})
    assert sweepwise("run", given.study, "--quiet").code == 0
    for options, says in (([], "no target in common"), (["--target", "latency_s"], "no run gave 'latency_s'")):
        ran = sweepwise("compare", study, given.study, *options)
        assert ran.code == 2
        assert says in ran.err
        assert ran.err.count("\n") == 1
