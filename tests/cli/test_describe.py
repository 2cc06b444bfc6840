"""A device that is on no axis, from the command line; and the note on a value of which nothing is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]


def written(directory: Path, gpus: tuple[str, ...]) -> Path:
    """A study file of some devices and its table."""
    lines = ["gpu,batch_size,e2el_s"]
    lines += [f"{gpu},{batch},{(k + 2) * (1 + 0.1 * batch)}"
              for k, gpu in enumerate(gpus) for batch in (1, 2, 4, 8, 16)]
    (directory / "grid.csv").write_text("\n".join(lines))
    study = directory / "s.yaml"
    study.write_text(f"""
study: {{name: s, storage: "sqlite:///{directory}/s.db"}}
space: {{axes: {{gpu: {{scale: category, scope: engine}}, batch_size: {{scale: log}}}}}}
runner: {{kind: replay, table: grid.csv, cost_s: e2el_s}}
targets: [e2el_s]
stop: {{trials: 10}}
""")
    return study


def refused(ran: Any, *said: str) -> None:
    assert ran.code == 2 and ran.err.count("\n") == 1, ran.err
    for words in said:
        assert words in ran.err, ran.err


def test_a_device_is_described_on_the_command_line(tmp_path: Path, sweepwise: Call, answer: Call) -> None:
    study = written(tmp_path, ("H100", "A100"))
    assert sweepwise("run", study, "--quiet").code == 0
    (known,) = answer("predict", study, "--point", "gpu=V100,batch_size=4")
    assert known["source"] == "predicted" and known["e2el_s_low"] < known["e2el_s"] < known["e2el_s_high"]
    told = ("--describe", "gpu.tflops=500", "--describe", "gpu.bandwidth_gb_s=1000")
    assert answer("predict", study, "--point", "gpu=X9,batch_size=4", *told)[0]["gpu"] == "X9"
    refused(sweepwise("predict", study, "--point", "gpu=X9,batch_size=4"), "--point: gpu=X9", "--describe gpu.tflops=…")
    refused(sweepwise("predict", study, "--describe", "gpu.tflops=5"), "--describe: describes a value in --point")
    for bad in ("gpu.tflops=fast", "gpu.tflops=0", "gpu.tflops=inf", "gpu.tflops"):
        refused(sweepwise("predict", study, "--point", "gpu=X9,batch_size=4", "--describe", bad), "--describe: ")


def test_validate_says_whose_data_sheet_is_missing(tmp_path: Path, sweepwise: Call) -> None:
    said = sweepwise("validate", written(tmp_path, ("H100", "X9"))).out
    assert "note: space.axes.gpu: tflops, bandwidth_gb_s not known for X9" in said
    assert "descriptors: {tflops: {X9" in said
    assert "note:" not in sweepwise("validate", written(tmp_path, ("H100", "A100"))).out
