"""A model or a device that is on no axis: predicted by its numbers, wide where little is known, refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.space.types import StudyError
from planner.study import Study, open_study

GPUS = {"A100": (312.0, 2039.0), "V100": (125.0, 900.0), "L40S": (362.05, 864.0), "H100": (989.4, 3350.0)}


def seconds(tflops: float, bandwidth: float, batch: int, output: int) -> float:
    """A model of 8 billion parameters at 16 bits, on a device that reaches its data sheet."""
    return output * (16 / bandwidth + 0.016 * batch / tflops + 0.0003) + 0.0016 * batch / tflops * 500


def study(directory: Path, gpus: tuple[str, ...] = ("A100", "V100", "L40S")) -> Study:
    """A study of which the whole grid is measured."""
    lines = ["gpu,batch_size,output_len,e2el_s"]
    lines += [f"{gpu},{batch},{output},{seconds(*GPUS[gpu], batch, output)}"
              for gpu in gpus for batch in (1, 4, 16, 64) for output in (16, 64, 256)]
    (directory / "grid.csv").write_text("\n".join(lines))
    (directory / "s.yaml").write_text(f"""
study: {{storage: "sqlite:///{directory}/s.db"}}
space: {{axes: {{gpu: {{scale: category, scope: engine}}, batch_size: {{scale: log}}, output_len: {{scale: log}}}}}}
runner: {{kind: replay, table: grid.csv, cost_s: e2el_s}}
targets: [e2el_s]
""")
    opened = open_study(directory / "s.yaml")
    opened.run(strategy="full")
    return opened


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(tmp_path_factory.mktemp("unlisted"))


def point(gpu: str, batch: int = 16, output: int = 64) -> str:
    return f"gpu={gpu},batch_size={batch},output_len={output}"


def test_a_device_that_nobody_has_is_predicted_by_its_data_sheet(measured: Study) -> None:
    """Known by name, or typed. It is twice as fast as any measured one; the interval says that it was never run."""
    by_name = measured.predict([point("H100"), point("A100")])
    typed = measured.predict([point("X9")], {"gpu.tflops": 989.4, "gpu.bandwidth_gb_s": 3350.0})
    truth, a100 = seconds(*GPUS["H100"], 16, 64), seconds(*GPUS["A100"], 16, 64)
    assert list(by_name["source"]) == ["predicted", "measured"] and by_name["e2el_s"].iloc[1] == pytest.approx(a100)
    found = by_name.iloc[0]
    assert found["e2el_s"] < 0.8 * a100 and abs(np.log(found["e2el_s"] / truth)) < 0.3
    assert found["e2el_s_low"] < truth < found["e2el_s_high"] and found["e2el_s_high"] / found["e2el_s_low"] > 1.5
    assert typed["e2el_s"].iloc[0] == pytest.approx(found["e2el_s"], rel=1e-6)
    slow = measured.predict([point("X9")], {"gpu.tflops": 100.0, "gpu.bandwidth_gb_s": 300.0})
    assert slow["e2el_s"].iloc[0] > 2 * a100


def test_what_is_measured_stays_as_it_is(measured: Study) -> None:
    before, beside = measured.predict([point("V100")]), measured.predict([point("V100"), point("H100")])
    for name in ("e2el_s", "e2el_s_low", "e2el_s_high"):
        assert beside[name].iloc[0] == pytest.approx(before[name].iloc[0], rel=1e-3)
    assert len(measured.grid) == 36


@pytest.mark.parametrize(("asked", "described", "words"), [
    (point("X9"), {}, "gpu=X9 is not on the axis, and not known; its values are A100, V100, L40S; or type its data "
                      "sheet: --describe gpu.tflops"),
    (point("X9"), {"gpu.age": 1.0}, "--describe: 'gpu.age' is no number of an axis; use gpu.tflops"),
    (point("A100"), {"gpu.tflops": 1.0}, "--describe: gpu.tflops needs one value in --point that is not on the axis"),
    ("gpu=H100,batch_size=16", {}, "'output_len' is missing"),
    ("gpu=H100,batch_size=17,output_len=64", {}, "batch_size=17 is not on the axis"),
])
def test_what_is_wrong_is_said_in_one_line(
    measured: Study, asked: str, described: dict[str, float], words: str
) -> None:
    with pytest.raises(StudyError) as error:
        measured.predict([asked], described)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_two_values_cannot_share_typed_numbers(measured: Study) -> None:
    with pytest.raises(StudyError, match="needs one value in --point"):
        measured.predict([point("X9"), point("Y9")], {"gpu.tflops": 1.0})
