"""What is shown while a study runs never predicts every point of a large grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import open_study
from planner.models import settings
from planner.models.ensemble import Ensemble
from planner.space.types import Cost, Measurement, Reading, Status


def test_an_overview_of_a_large_grid_has_no_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{tmp_path / 'study.db'}"}, "stop": {"trials": 3},
        "space": {"axes": {"input_len": {"range": [1, 30], "scale": "log"},
                           "batch_size": {"range": [1, 30], "scale": "log"}}},
        "runner": {"kind": "command", "command": ["true", "{batch_size}", "{input_len}"]}, "targets": ["e2el_ms"]}))
    study = open_study(path)
    ledger = study._setup.create_or_resume()
    for batch in range(1, 9):
        at = {"input_len": 2 * batch, "batch_size": batch}
        reading = Reading(at, {"e2el_ms": (batch + 5.0,)}, 1.0)
        ledger.add(at, Measurement(Status.OK, Cost(measure_s=1.0), (reading,)), {})
    assert set(study.overview().surfaces) == {"e2el_ms"}

    predict, most = Ensemble.predict, []

    def counting(self: Ensemble, rows: Any = slice(None)) -> Any:
        found = predict(self, rows)
        most.append(len(found[0]))
        return found

    monkeypatch.setattr(Ensemble, "predict", counting)
    monkeypatch.setattr(settings, "EXACT_POINTS", 500)
    monkeypatch.setattr(settings, "SAMPLE_POINTS", 100)
    overview = open_study(path).overview()
    assert overview.surfaces == {} and "too large" in str(overview.rates)
    assert overview.status.accuracy["e2el_ms"] is not None and max(most) <= 110
