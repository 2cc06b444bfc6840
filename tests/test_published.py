"""The published studies: what is left out is never learned from, scores are what they are called, the scripts run."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import planner
from planner.space.types import StudyError
from studies.published import argonne, infpop, infpop_table, llm_pilot
from studies.published.baselines import BASELINES
from studies.published.leave_out import Case, folds, predict_by_study, predictions
from studies.published.scoring import scores_of

_DATA = Path(llm_pilot.__file__).parent / "data"


def _pilot() -> pd.DataFrame:
    """Three models on two GPUs, 1 to 8 users: latency grows with the model and the users, and falls with the GPU."""
    size, speed = {"llama-7b": 7.0, "llama-13b": 13.0, "bigcode/starcoder": 15.5}, {"T4": 1.0, "A100": 5.0}
    rows = [{"model": model, "gpu": gpu, "n_gpus": 1, "num_users": users, "itl_ms": size[model] / speed[gpu] * (
        5 + users), "nttft_ms": size[model] / speed[gpu] * users / 10}
            for model, gpu, users in product(size, speed, (1, 2, 4, 8))]
    return pd.DataFrame(rows)


def _argonne(factor: float = 1.0) -> pd.DataFrame:
    """Two models on three devices as upstream writes them; `factor` on the latency of the H100."""
    speed = {"Nvidia A100 GPU": 1.5, "AMD MI300X GPU": 5.3, "AMD MI250 GPU": 3.2, "Nvidia H100 GPU": 3.3}
    size = {"meta-llama/Llama-2-7b-hf": 6.7, "Qwen/Qwen2-7B": 7.6}
    return pd.DataFrame([{
        "Hardware": device, "Num of Hardware": 1, "Framework": "vLLM", "Model": model, "Input Output Length": length,
        "Batch Size": batch, "Latency": size[model] / speed[device] * length * (10 + batch) * (
            factor if "H100" in device else 1.0), "Throughput": 1.0}
        for device, model, length, batch in product(speed, size, (128, 512, 1024), (1, 16, 32, 64))])


def _cases(folder: Path) -> list[Case]:
    (file := folder / "all.csv").write_text(_argonne().to_csv(index=False))
    return [llm_pilot.case(_pilot()), argonne.case(argonne.read(file, argonne.SIX))]


def test_a_fold_has_nothing_of_what_is_left_out(tmp_path: Path) -> None:
    for case in [*_cases(tmp_path), llm_pilot.case(pd.read_csv(_DATA / "llm_pilot.csv"))]:
        values = []
        for fold in folds(case):
            assert fold.value not in set(fold.known[case.left_out])
            assert set(fold.asked[case.left_out]) == {fold.value} and set(fold.asked) == set(case.axes), "no truth"
            assert len(fold.known) + len(fold.asked) == len(case.table)
            values.append(fold.value)
        assert values == sorted(set(case.table[case.left_out]))


def test_the_study_is_never_given_the_truth_of_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    opened = planner.open_study

    def watched(path: Path, **options: str) -> planner.Study:
        seen.update({file.name: pd.read_csv(file) for file in path.parent.glob("*.csv")})
        return opened(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(planner, "open_study", watched)
    case = _cases(tmp_path)[1]
    fold = next(fold for fold in folds(case) if fold.value == "H100")
    found = predict_by_study(case, fold)
    grid = seen["grid.csv"]
    assert (grid.loc[grid["hardware"] == "H100", "latency_s"] == 1).all() and len(grid) == len(case.table)
    assert "H100" not in set(seen["known.csv"]["hardware"])
    assert (found["hardware"] == "H100").all() and (found["latency_s_low"] < found["latency_s_high"]).all()


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_neither_sees_the_truth_nor_loses_the_order_of_points(tmp_path: Path, name: str) -> None:
    tables = []
    for factor in (1.0, 7.0):
        (file := tmp_path / "all.csv").write_text(_argonne(factor).to_csv(index=False))
        table = predictions(argonne.case(argonne.read(file, argonne.SIX)), BASELINES[name], only="H100")
        assert len(table) == 24
        tables.append(table)
    np.testing.assert_allclose(tables[0]["latency_s"], tables[1]["latency_s"])
    np.testing.assert_allclose(tables[1]["latency_s_true"] / tables[0]["latency_s_true"], 7)
    assert np.corrcoef(tables[0]["latency_s"], tables[0]["latency_s_true"])[0, 1] > 0.8, "the rows are the points'"


def test_the_median_and_the_nearest_of_the_others_are_looked_up_at_the_same_setting(tmp_path: Path) -> None:
    case = _cases(tmp_path)[0]
    median = predictions(case, BASELINES["median of the others"], only="llama-13b").set_index(["gpu", "num_users"])
    nearest = predictions(case, BASELINES["nearest of the others"], only="llama-13b").set_index(["gpu", "num_users"])
    others = _pilot().set_index(["model", "gpu", "num_users"])["itl_ms"]
    for place in median.index:
        assert median.loc[place, "itl_ms"] == pytest.approx(
            (others["llama-7b"][place] + others["bigcode/starcoder"][place]) / 2)
        assert nearest.loc[place, "itl_ms"] == others["bigcode/starcoder"][place]


def test_scores_are_what_they_are_called() -> None:
    truth, predicted = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.1, 2.0, 2.0, 8.0])
    score = scores_of(truth, predicted, ["a", "a", "b", "b"], (predicted * 0.8, predicted * 1.6))
    assert score.median == pytest.approx(0.05) and score.mean == pytest.approx(0.15)
    assert score.of_groups == pytest.approx((0.05 + 0.25) / 2) and score.low <= score.median <= score.high
    assert score.r2 == pytest.approx(1 - (0.1**2 + 2**2) / np.sum((truth - 3.75) ** 2))
    logs = np.log(truth)
    assert score.r2_log == pytest.approx(1 - (np.log(1.1) ** 2 + np.log(2) ** 2) / np.sum((logs - logs.mean()) ** 2))
    assert score.coverage == pytest.approx(0.75) and score.width == pytest.approx(2)


def test_a_saved_fold_is_not_predicted_again(tmp_path: Path) -> None:
    case = _cases(tmp_path)[0]
    first = predictions(case, BASELINES["linear regression"], tmp_path / "saved")
    again = predictions(case, lambda *_: pytest.fail("predicted again"), tmp_path / "saved")
    pd.testing.assert_frame_equal(first, again)


def test_the_scripts_run_on_small_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pilot := tmp_path / "pilot.csv").write_text(_pilot().to_csv(index=False))
    llm_pilot.main([str(pilot), "--only", "llama-13b", "--size-alone"])
    (table := tmp_path / "all.csv").write_text(_argonne().to_csv(index=False))
    argonne.main([str(table), "--only", "A100"])
    printed = capsys.readouterr().out
    assert printed.count("| sweepwise |") == 3 and printed.count("| nearest of the others |") == 3
    table.write_text(_argonne().drop(columns="Framework").to_csv(index=False))
    with pytest.raises(StudyError, match=r"no column 'Framework'; give Plots/All_results\.csv"):
        argonne.read(table)


def _clone(folder: Path) -> Path:
    """As upstream: blocks of a model, an engine, a number of GPUs and a GPU that only the paper's tables name."""
    rows = []
    shown: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    for gpu, model, count in product(("tesla", "a100"), ("m-1b", "m-7b"), (1, 2)):
        for batch in (1, 2, 4):
            best = {"tesla": 2, "a100": 4}[gpu] if model == "m-1b" else 2
            value = (10 + count) * (1.0 if gpu == "tesla" else 2.0) / (1 + abs(batch - best))
            first = np.nan if (model, count, batch) == ("m-7b", 1, 4) else value
            rows += [{"model": model, "engine": "vLLM", "nrGPUs": count, "batchSize": batch, "throughput": first * more,
                      "errors_l": "ok"} for more in (1, 1.5, 1.6)]
            shown.setdefault((gpu, count), {}).setdefault(model, {})[str(batch)] = round(first, 1)
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "allData.csv")
    (folder / "RQ2" / "tables").mkdir(parents=True)
    for gpu, engine, count in product(infpop_table.GPUS, infpop_table.ENGINES, (1, 2, 4, 8)):
        table = pd.DataFrame(shown.get((gpu, count), {})).T if engine == "vLLM" else pd.DataFrame()
        table.rename_axis("model").to_csv(
            folder / "RQ2" / "tables" / f"table_batchsizes_{gpu}_{engine}_gpu_{count}.csv")
    return folder


def test_infpop_readings_find_their_gpu_and_gains_follow_the_paper(tmp_path: Path) -> None:
    rows = infpop_table.read(_clone(tmp_path / "clone"))
    assert len(rows) == 24 and rows["throughput"].isna().sum() == 2, "the first of three readings"
    assert rows.set_index(["gpu", "model", "n_gpus", "batch_size"])["throughput"]["a100", "m-1b", 2, 4] == 24
    asked = infpop.transfer(rows, "vLLM", "tesla")
    assert asked.old == {"m-1b": pytest.approx(8), "m-7b": pytest.approx(24)}, "batch 2 on both, the best of the V100"
    np.testing.assert_allclose(infpop.gains(asked, {"m-1b": 24.0, "m-7b": float("nan")}), [200, 0])
    for name in ("tpe", "random"):
        curve = infpop.METHODS[name](asked, 0, ())
        assert curve[-1].best == {"m-1b": 24.0, "m-7b": 24.0} and curve[-1].runs == 12, "100 tries of six settings"
        assert [found.runs for found in curve] == sorted(found.runs for found in curve)
    with pytest.raises(StudyError, match=r"has no allData\.csv; give a clone"):
        infpop_table.read(tmp_path)


def test_an_infpop_study_counts_the_runs_that_confirm_its_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = infpop.transfer(infpop_table.read(_clone(tmp_path / "clone")), "vLLM", "tesla")
    found = infpop.by_study(asked, 0, (0.6, 0.8))
    assert all(one.runs <= share * 12 + 1 for one, share in zip(found, (0.6, 0.8), strict=True))
    best = asked.table.groupby("model")["throughput"].max()
    assert all(asked.old[model] <= one.best[model] <= best[model] for one in found for model in asked.old)
    infpop.main([str(tmp_path / "clone"), "--engine", "vLLM", "--seeds", "1", "--method", "random"])
    assert "published 3.31 %, of the best in the table 100.00 %" in capsys.readouterr().out


def test_what_comes_with_the_project_may_be_passed_on() -> None:
    table = pd.read_csv(_DATA / "llm_pilot.csv")
    assert len(table) == 528 and table["model"].nunique() == 10 and not table.isna().to_numpy().any()
    assert "CDLA" in (text := (_DATA / "LICENSE-llm_pilot.md").read_text()) or "Community Data License" in text
    assert sum(file.stat().st_size for file in _DATA.iterdir()) < 300_000
