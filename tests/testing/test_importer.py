"""The importers' suite: ours keep the contract on the tools' files, and each way of breaking it is reported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS
from planner.importers.rows import Counts, Provenance, Row, content_identity, number, parse_json, read_bytes
from planner.space.types import StudyError, Value
from planner.testing import check_importer

DATA = Path(__file__).parents[1] / "data/importers"
STUDIES = Path(__file__).parents[2] / "studies"
FILES = {
    "fmwork": ["fmwork.log", "fmwork_2024.log"],
    "vllm-bench": ["vllm_latency.json", "vllm_throughput.json", "vllm_serve.json", "vllm_serve_appended.json",
                   "vllm_serve_detailed.json", "vllm_serve_2024_01.json", "vllm_serve_2024_11.json",
                   "vllm_serve_metadata.json", "vllm_serve_ramp_up.json", "vllm_serve_pooling.json", "vllm_rust.json",
                   "vllm_rust_multi_turn.json"],
    "vllm-sweep": ["vllm_sweep", "vllm_sweep_failures", "vllm_sweep_parameters", "vllm_sweep_workload",
                   "vllm_serve_multi", "vllm_sweep_summary.csv"],
    "guidellm": ["guidellm.json", "guidellm_rate.json", "guidellm_0_2.json", "guidellm_0_3.json", "guidellm_0_4.json"],
    "aiperf": ["aiperf.json", "aiperf_rate.json", "aiperf_0_1.json", "aiperf_0_5.json", "aiperf_0_9.json"],
    "genai-perf": ["genai_perf_2024_05.json", "genai_perf_2024_11.json", "genai_perf_0_0_16.json"],
    "sglang": ["sglang_0.2.15.jsonl", "sglang_0.4.6.jsonl", "sglang_0.5.23.jsonl", "sglang_details.jsonl",
               "sglang_lengths.jsonl", "sglang_offline.jsonl", "sglang_one_batch.jsonl", "sglang_whole.jsonl"],
    "inferencex": ["inferencex_2025_08.json", "inferencex_2025_11_disagg.json", "inferencex_2025_12_disagg.json",
                   "inferencex_2026_08.json", "inferencex_collected.json"],
    "inference-perf": ["inference_perf_0.1", "inference_perf_0.2", "inference_perf_0.4", "inference_perf_0.5",
                       "inference_perf_0.7", "inference_perf_failed"],
    "llmperf": ["llmperf"],
    "evalscope": ["evalscope", "evalscope_0_10_1", "evalscope_0_12_1", "evalscope_0_16_0", "evalscope_0_17_1",
                  "evalscope_1_4_0", "evalscope_1_8_1", "evalscope_no_stream", "evalscope_rate"],
    "optimum-benchmark": ["optimum_0_2_0", "optimum_0_3_0", "optimum_0_4_0", "optimum_0_5_0", "optimum_0_6_0"],
}
SINGLE = {"llmperf": ["llmperf/vllm_2/01-ai-Yi-1-5-34B-Chat_550_150_summary.json",
                      "llmperf/vllm_2/01-ai-Yi-1-5-34B-Chat_550_150_individual_responses.json"],
          "evalscope": ["evalscope/parallel_2_number_12/benchmark_summary.json",
                        "evalscope_0_10_1/benchmark_summary.json"],
          "optimum-benchmark": ["optimum_0_6_0/benchmark_report.json", "optimum_0_2_0/benchmark.json"]}
"""Files in the folders."""


def test_every_file_is_tried() -> None:
    assert {name for names in FILES.values() for name in names} == {p.name for p in DATA.iterdir()} - {"README.md"}
    assert set(FILES) == set(OURS) - {"table"}


@pytest.mark.parametrize(("form", "file"), [(form, file) for group in (FILES, SINGLE)
                                            for form, files in group.items() for file in files])
def test_every_importer_of_ours_keeps_the_contract(form: str, file: str) -> None:
    check_importer(OURS[form], [DATA / file], {"input_len": 32, "output_len": 8, "batch_size": 4})


def test_tables_keep_the_contract(tmp_path: Path) -> None:
    table = tmp_path / "any.csv"
    table.write_text("gpu,prompt,ms,price,how\nA,128,1.5,3,ok\nA,256,,4,OOM\nB,128,2.5,3,ok\n")
    check_importer(OURS["table"], [table], renames={"seconds": "price", "status": "how"}, any_table=True)


class Sound:
    """Reads {"sound": [{"batch": 1, "ms": 2.0}]}. Subclasses break one thing each."""

    def recognises(self, source: Source) -> bool:
        return isinstance(source.json, dict) and "sound" in source.json

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        data, digest = read_bytes(path)
        report = parse_json(data, name)
        results = report.get("sound") if isinstance(report, dict) else None
        if not isinstance(results, list) or not results:
            raise StudyError(f"{name}: holds no result of the tool; name its report")
        return [self.row(result, Provenance(name, digest, "sound", f"result {i + 1}"))
                for i, result in enumerate(results)]

    def row(self, result: Any, place: Provenance) -> Row:
        if not isinstance(result, dict):
            raise StudyError(f"{place.where}: is no result; leave it out")
        ms = number(result.get("ms"), place.where, "ms")
        place = replace(place, identity=content_identity([place.row, result]))
        return Row({"batch_size": number(result.get("batch"), place.where, "batch")}, {"e2el_ms": (ms,)}, ms / 1000,
                   place)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"sound": [{"batch": 1, "ms": 2.0}, {"batch": 2, "ms": 3.5}]}))
    return path


def test_a_sound_importer_passes(report: Path) -> None:
    check_importer(Sound(), [report])
    with pytest.raises(AssertionError, match="at least one file"):
        check_importer(Sound(), [])


def raising(error: Exception) -> Callable[..., Any]:
    def method(*_: object) -> Any:
        raise error
    return method


def in_words(source: Source) -> Any:
    return "yes" if Sound().recognises(source) else ""


def of_the_path(self: Sound, path: Path, name: str, known: Any, renames: Any) -> list[Row]:
    return [replace(row, provenance=replace(row.provenance, identity=f"{path} {row.provenance.row}"))
            for row in Sound.read(self, path, name, known, renames)]


def writes(self: Sound, path: Path, name: str, known: Any, renames: Any) -> list[Row]:
    rows = Sound.read(self, path, name, known, renames)
    path.with_suffix(".seen").write_text("seen")
    return rows


def notes_known(self: Sound, path: Path, name: str, known: Any, renames: Any) -> list[Row]:
    known["seen"] = True
    return Sound.read(self, path, name, known, renames)


def prefers_known(self: Sound, path: Path, name: str, known: Any, renames: Any) -> list[Row]:
    return [replace(row, fields={**row.fields, **known}) for row in Sound.read(self, path, name, known, renames)]


def refusing(_: Sound, path: Path, name: str, *__: Any) -> list[Row]:
    raise StudyError(f"{path} {name}: is of an older version; write it anew")


def unguarded(self: Sound, path: Path, name: str, *_: Any) -> list[Row]:
    return [self.row(result, Provenance(name, "0" * 64, "sound", f"result {i}"))
            for i, result in enumerate(json.loads(path.read_text())["sound"])]


def nameless(self: Sound, path: Path, name: str, known: Any, renames: Any) -> list[Row]:
    try:
        return Sound.read(self, path, name, known, renames)
    except StudyError as error:
        raise StudyError("something is wrong; correct it") from error


def lenient(self: Sound, path: Path, name: str, known: Any, renames: Any) -> list[Row]:
    try:
        return Sound.read(self, path, name, known, renames)
    except StudyError:
        return []


def of_each(**change: Any) -> dict[str, Any]:
    """Each row with something replaced."""
    return {"row": lambda self, result, place: replace(Sound.row(self, result, place), **change)}


def of_each_place(**change: Any) -> dict[str, Any]:
    return {"row": lambda self, result, place: (row := Sound.row(self, result, place)) and replace(
        row, provenance=replace(row.provenance, **change))}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "recognises nothing": ({"recognises": lambda *_: False}, "written by the tool"),
    "recognises all": ({"recognises": lambda *_: True}, "not a file of this tool"),
    "recognises any JSON": ({"recognises": lambda _, source: source.json is not None}, "not a file of this tool"),
    "recognises tables": ({"recognises": lambda self, source: source.is_table or Sound.recognises(self, source)},
                          "some.csv"),
    "recognises in words": ({"recognises": lambda _, source: in_words(source)}, "True or False"),
    "recognises in trouble": ({"recognises": raising(KeyError("sound"))}, "must raise nothing"),
    "recognises whole files only": ({"recognises": lambda _, source: "sound" in json.loads(source.path.read_text())},
                                    "must raise nothing"),
    "refuses": ({"read": refusing}, "is refused"),
    "raises": ({"read": raising(ValueError("no"))}, "StudyError only"),
    "is not guarded": ({"read": unguarded}, "sha256|StudyError only"),
    "names no file": ({"read": nameless}, "must name the file"),
    "is silent": ({"read": lenient}, "at least one row"),
    "another identity": ({"read": of_the_path}, "copy"), "writes": ({"read": writes}, "was changed"),
    "--set over the file": ({"read": prefers_known}, "known. overrides batch_size"),
    "others of nothing": (of_each(others={"x": None}), "others has"),
    "counts below zero": (of_each(counts=Counts(requests=-1)), "counts: "),
    "changes its arguments": ({"read": notes_known}, "StudyError only"),
    "one identity": (of_each_place(identity="x"), "share one"), "no identity": (of_each_place(identity=""), "identity"),
    "no format": (of_each_place(format=""), "must say format"), "no row": (of_each_place(row=""), "must say format"),
    "another file": (of_each_place(file="elsewhere"), "provenance.file"),
    "another hash": (of_each_place(sha256="0" * 64), "sha256"),
    "failures with numbers": (of_each(failure="out of memory"), "no metrics"),
    "no metrics": (of_each(metrics={}), "has metrics"), "no repeats": (of_each(metrics={"x": ()}), "tuple of floats"),
    "a list": (of_each(metrics={"x": [1.0]}), "tuple of floats"), "an int": (of_each(metrics={"x": (1,)}), "floats"),
    "not a number": (of_each(metrics={"x": (math.nan,)}), "not finite"),
    "a field of nothing": (of_each(fields={"x": None}), "field x"),
    "a field that is no number": (of_each(fields={"x": math.nan}), "field x"),
    "an endless field": (of_each(fields={"x": -math.inf}), "field x"),
    "negative seconds": (of_each(seconds=-1.0), "seconds"), "endless": (of_each(start_s=math.inf), "start_s"),
    "debts": (of_each(accelerators=-1.0), "accelerators"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_importer_is_reported(name: str, report: Path) -> None:
    members, says = BROKEN[name]
    broken: Any = type("Broken", (Sound,), members)
    with pytest.raises(AssertionError, match=says):
        check_importer(broken(), [report])


def test_what_is_no_importer_is_reported(report: Path) -> None:
    class Half:
        def recognises(self, source: Source) -> bool:
            return True

    half: Any = Half()
    with pytest.raises(AssertionError, match="lacks a member"):
        check_importer(half, [report])
