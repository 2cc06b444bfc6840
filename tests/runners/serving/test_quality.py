"""The evaluation of a server: log-probabilities against sums by hand, commands, and what lm_eval writes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.space.evaluation import Evaluation
from planner.space.types import Cost, Measurement, Proposal, Reading, Status, StudyError
from runners.serving.client import Target
from runners.serving.evaluation_command import lm_eval_metrics
from runners.serving.log_probabilities import EvaluationError, exact_match_of, perplexity_of
from runners.serving.quality import Evaluator
from tests.runners.serving.fake_server import Behaviour, FakeServer

POINT = {"max_concurrency": 1}
MEASURED = Measurement(Status.OK, Cost(measure_s=1.0), (Reading(POINT, {"ttft_ms": (5.0,)}, 1.0),))
# As lm_eval 0.4.13 writes it, shortened.
RESULTS = {
    "results": {
        "cities": {"alias": "cities", "name": "cities", "sample_len": 128, "sample_count": {"acc,none": 128},
                   "acc,none": 0.71, "acc_stderr,none": 0.04, "acc_norm,none": 0.72, "acc_norm_stderr,none": 0.039},
        "rivers": {"alias": "rivers", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": "N/A",
                   "exact_match,flexible-extract": 0.6, "exact_match_stderr,flexible-extract": 0.05}},
    "versions": {"cities": 1.0}, "n-samples": {"cities": {"original": 128, "effective": 128}},
    "config": {"model": "local-completions", "random_seed": 0, "limit": None}, "git_hash": None,
    "lm_eval_version": "0.4.13", "transformers_version": "5.0"}


@pytest.fixture
def target() -> Iterator[Target]:
    """A server of words: k letters have the log-probability -k / 10, and those that end with x are not most likely."""
    with FakeServer(Behaviour(ttft_ms=0.0)) as server:
        yield Target(server.base_url, "tiny", "folder")


def evaluated(target: Target, directory: Path, evaluate: bool = True, **asked: Any) -> Measurement:
    return Evaluator(Evaluation(**asked), directory).added(MEASURED, Proposal(POINT, (POINT,), evaluate=evaluate),
                                                           target)


def values(measured: Measurement) -> Mapping[str, float]:
    assert "failed" not in measured.quality, measured.quality
    (reading,) = measured.readings
    assert reading.metrics["ttft_ms"] == (5.0,)
    return {name: value for name, (value,) in reading.metrics.items() if name != "ttft_ms"}


def test_perplexity_and_exact_match_are_what_the_log_probabilities_say(target: Target, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a bb ccc\n\na bb\n  one\n")
    lines = [("a b", " cc dd"), ("a b", " cc dx"), ("x x", " cc"), ("a", " b c")]
    (tmp_path / "asked.jsonl").write_text("\n".join(
        json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in lines))
    measured = evaluated(target, tmp_path, perplexity="text.txt", exact_match="asked.jsonl")
    found = values(measured)
    assert found["perplexity"] == pytest.approx(math.exp((0.2 + 0.3 + 0.2) / 3)), "the first word has none before it"
    assert found["exact_match"] == 0.75, "one answer has a word that another is more likely than"
    assert found["exact_match_stderr"] == pytest.approx(math.sqrt(0.7 * 0.3 / 4))
    assert measured.cost.evaluation_s > 0 and measured.cost.run_s == 1.0
    assert measured.quality["perplexity"]["documents"] == 3 and measured.quality["perplexity"]["tokens"] == 3
    assert len(measured.quality["exact_match"]["sha256"]) == 64
    assert (measured.quality["temperature"], measured.quality["engine"]) == (0, "vllm 0.32.0")


def test_the_sampling_error_of_a_perplexity_holds() -> None:
    """Documents whose tokens resemble each other: the error of the mean over tokens would be too small by far."""
    rng = np.random.default_rng(0)

    def texts() -> list[list[float]]:
        return [list(rng.normal(level, 0.1, rng.integers(5, 40))) for level in rng.normal(-2.0, 0.5, 50)]

    found = [perplexity_of(texts()) for _ in range(200)]
    inside = [abs(value - math.exp(2.0)) < 1.645 * error for value, error, _ in found]
    assert 0.83 < np.mean(inside) < 0.96
    one = perplexity_of([list(rng.normal(-2.0, 0.5, 400))])
    assert one[1] == pytest.approx(one[0] * 0.5 / 20, rel=0.15)
    with pytest.raises(EvaluationError, match="no document has a token"):
        perplexity_of([[], []])
    with pytest.raises(EvaluationError, match="its perplexity cannot be written"):
        perplexity_of([[-9999.0], [-math.inf]])


def test_the_sampling_error_of_a_share_holds_and_is_never_nothing() -> None:
    rng = np.random.default_rng(1)
    found = [exact_match_of(list(rng.random(120) < 0.8)) for _ in range(400)]
    assert 0.86 < np.mean([abs(value - 0.8) < 1.645 * error for value, error in found]) < 0.94
    assert exact_match_of([True] * 50) == (1.0, pytest.approx(math.sqrt(50.5 * 0.5) / 51 / math.sqrt(50)))


def test_only_runs_that_are_asked_to_evaluate(target: Target, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n")
    assert evaluated(target, tmp_path, evaluate=False, perplexity="text.txt") is MEASURED
    failed = Measurement(Status.FAILED, Cost(), reason="broken")
    assert Evaluator(Evaluation(perplexity="text.txt"), tmp_path).added(
        failed, Proposal(POINT, (POINT,), evaluate=True), target) is failed


def test_a_server_that_fails_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n" * 20)
    with FakeServer(Behaviour(error_share=1.0)) as server:
        measured = evaluated(Target(server.base_url, "tiny", ""), tmp_path, perplexity="text.txt")
    assert "the server refused a prompt" in measured.quality["failed"] and "made to fail" in measured.quality["failed"]
    assert measured.readings == MEASURED.readings and measured.status is Status.OK
    assert measured.cost.evaluation_s > 0, "what it took is charged"


def test_a_server_that_is_gone_and_an_evaluation_that_takes_too_long(target: Target, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n")
    gone = evaluated(Target("http://127.0.0.1:9", "tiny", ""), tmp_path, perplexity="text.txt")
    assert "the server gave no answer" in gone.quality["failed"]
    late = evaluated(target, tmp_path, perplexity="text.txt", timeout_s=0.0)
    assert late.quality["failed"] == "took longer than quality.timeout_s"


@pytest.mark.parametrize(("file", "text", "message"), [
    ("none.txt", None, r"quality\.perplexity: cannot read none\.txt \(No such file"),
    ("empty.txt", "\n\n", r"quality\.perplexity: empty\.txt holds nothing"),
    ("odd.jsonl", '{"text": "a"}\n{"texts": "b"}\n', r"quality\.perplexity: line 2 of odd\.jsonl is no JSON object"),
    ("odd.jsonl", '{"text": 3}\n', "line 1")])
def test_a_file_that_cannot_be_read_is_refused_before_anything_starts(
    file: str, text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(StudyError, match=message):
        Evaluator(Evaluation(perplexity=file), tmp_path)


def test_a_command_is_given_the_server_and_prints_its_metrics(target: Target, tmp_path: Path) -> None:
    (tmp_path / "evaluate.py").write_text(
        "import json, sys, urllib.request\n"
        "served = json.load(urllib.request.urlopen(sys.argv[1] + '/v1/models'))['data'][0]['id']\n"
        "assert served == sys.argv[2]\n"
        "print('some words')\n"
        "print(json.dumps({'accuracy': 0.7, 'accuracy_stderr': 0.02, 'other': 1, 'version': '1.2'}))\n")
    asked = {"command": (sys.executable, "evaluate.py", "{base_url}", "{model}"), "results": {"accuracy": ""}}
    measured = evaluated(target, tmp_path, **asked)
    assert values(measured) == {"accuracy": 0.7, "accuracy_stderr": 0.02}
    assert measured.quality["command"] == {"version": "1.2"}
    before = Evaluator(Evaluation(**asked), tmp_path).facts()
    (tmp_path / "evaluate.py").write_text("print('{}')")
    assert Evaluator(Evaluation(**asked), tmp_path).facts() != before, "another program: its results are not mixed"
    assert "gave no metric" in evaluated(target, tmp_path, **asked).quality["failed"]


@pytest.mark.parametrize(("program", "reason"), [
    ("import sys; sys.exit('no such task')", "exit status 1: no such task"),
    ("print('{\"acc\": 0.5}')", "gave no 'accuracy' but acc"), ("print('done')", "its metrics are not JSON: done"),
    ("import time; time.sleep(60)", "took longer than 1 s")])
def test_a_command_that_fails_says_why(program: str, reason: str, target: Target, tmp_path: Path) -> None:
    words = (sys.executable, "-c", program.replace("{", "{{").replace("}", "}}"))
    measured = evaluated(target, tmp_path, command=words, results={"accuracy": ""},
                         timeout_s=1.0 if "sleep" in program else 60.0)
    assert reason in measured.quality["failed"]


def test_what_lm_eval_writes_is_read(target: Target, tmp_path: Path) -> None:
    (tmp_path / "lm.py").write_text(
        "import json, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('--output_path') + 1]) / 'tiny'\n"
        "folder.mkdir(parents=True)\n"
        f"text = {json.dumps(json.dumps(RESULTS))}\n"
        "(folder / 'results_2026-01-01T00-00-00.000000.json').write_text(text)\n"
        "print('|Tasks|Version|')\n")
    words = (sys.executable, "lm.py", "--model_args", "model={model},base_url={base_url}/v1/completions",
             "--output_path", "{output}")
    measured = evaluated(target, tmp_path, command=words,
                         results={"accuracy": "", "exact": "rivers exact_match,strict-match"})
    assert values(measured) == {"accuracy": 0.71, "accuracy_stderr": 0.04, "exact": 0.5}, "N/A is no sampling error"
    assert measured.quality["command"]["lm_eval_version"] == "0.4.13"
    assert measured.quality["command"]["random_seed"] == 0
    silent = evaluated(target, tmp_path, command=(sys.executable, "-c", "", "{output}"), results={"accuracy": ""})
    assert "wrote no results*.json to {output}" in silent.quality["failed"]


@pytest.mark.parametrize(("wanted", "message"), [
    ({"exact_match": ""}, "several results are called so; write `result:` with one of: rivers exact_match,strict"),
    ({"f1": ""}, "lm_eval gave no such result; write `result:` with one of: cities acc,none"),
    ({"accuracy": "towns acc,none"}, "lm_eval gave no such result")])
def test_a_result_that_lm_eval_does_not_have_is_named(wanted: dict[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    with pytest.raises(EvaluationError, match=message):
        lm_eval_metrics(path, wanted)


def test_unknown_placeholders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"quality\.command: unknown placeholder in '\{url\}'"):
        Evaluator(Evaluation(("lm_eval", "{url}"), {"accuracy": ""}), tmp_path)
