"""Any evaluation as a command that is given a server: no shell, a session of its own; and what lm_eval writes.

A command whose words name {output} is given an empty folder, and writes lm_eval's results there: `results*.json` with
{"results": {task: {"acc,none": 0.7, "acc_stderr,none": 0.01}}, …}, as lm_eval 0.4 does for `--output_path`. Any other
prints its metrics as the last line of its output, one JSON object; METRIC_stderr beside METRIC is its sampling error.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from planner.space.evaluation import STDERR
from planner.space.types import StudyError, Value
from runners.command_text import OutputError, Template, ending, file_digest, last_line, parse_metrics, tail
from runners.memory_kills import memory_kills
from runners.process_group import ProcessGroup
from runners.process_table import GRACE_S
from runners.serving.client import Target
from runners.serving.log_probabilities import EvaluationError

__all__ = ["EvaluationCommand", "lm_eval_metrics"]

_KEY: Final = "quality.command"
_PLACEHOLDERS: Final = ("base_url", "model", "tokenizer", "output")
_SHORT: Final = {"acc": "accuracy"}
_KEPT: Final = ("lm_eval_version", "transformers_version", "versions", "task_hashes", "n-samples", "git_hash")
_SEEDS: Final = ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed", "gen_kwargs", "limit")


class EvaluationCommand:
    """A command and the metrics that it gives. results: metric → where lm_eval has it, '' for its own name. Raises
    StudyError."""

    def __init__(self, command: Sequence[str], results: Mapping[str, str], directory: Path) -> None:
        self._words = [Template(word, _PLACEHOLDERS, _KEY) for word in command]
        self._results, self._directory = results, directory
        self._writes = any("{output}" in word for word in command)
        if not command[0].strip():
            raise StudyError(f"{_KEY}: its first word is empty; name the program to run")

    def facts(self) -> dict[str, str]:
        """The command, and digests of the files that it names."""
        words = [word.text for word in self._words]
        names = {part for word in words for part in (word, word.partition("=")[2]) if part}
        files = {name: file_digest(self._directory / name) for name in sorted(names)}
        return {"command": json.dumps(words), "results": json.dumps(dict(self._results), sort_keys=True),
                **{f"file:{name}": digest for name, digest in files.items() if digest}}

    def run(self, target: Target, timeout_s: float) -> tuple[dict[str, float], dict[str, Any]]:
        """Its metrics, with their sampling errors, and what it says of its version. Raises EvaluationError."""
        with tempfile.TemporaryDirectory(prefix="sweepwise-quality-") as folder:
            values: dict[str, Value] = {
                "base_url": target.base_url, "model": target.model, "tokenizer": target.tokenizer,
                "output": folder, "seed": 0, "devices": ""}
            words = [word.fill(values) for word in self._words]
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                self._execute(words, out, err, timeout_s)
                if self._writes:
                    return lm_eval_metrics(_newest(Path(folder)), self._results)
                return self._printed(out)

    def _execute(self, words: list[str], out: IO[bytes], err: IO[bytes], timeout_s: float) -> None:
        if words[0] in {"python", "python3"} and shutil.which(words[0]) is None:
            words[0] = sys.executable  # a virtual environment that is used without being activated
        kills = memory_kills()
        try:
            group = ProcessGroup(words, dict(os.environ), cwd=self._directory, stdout=out, stderr=err)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"cannot start '{words[0]}' ({error})") from error
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = group.process.wait(timeout_s)
        finally:  # also after KeyboardInterrupt
            group.end(GRACE_S)
        if code != 0:
            how = f"took longer than {timeout_s:.4g} s" if code is None else ending(code, memory_kills() > kills)
            raise EvaluationError(f"{how}: {tail(err) or tail(out)}".removesuffix(": "))

    def _printed(self, out: IO[bytes]) -> tuple[dict[str, float], dict[str, Any]]:
        try:
            line = last_line(out)
            given = parse_metrics(line, tuple(self._results))
        except OutputError as error:
            raise EvaluationError(str(error)) from error
        missing = [name for name in self._results if name not in given]
        if missing:
            raise EvaluationError(f"gave no '{missing[0]}' but {', '.join(given)}")
        names = [name + end for name in self._results for end in ("", STDERR) if name + end in given]
        said = {name: text for name, text in json.loads(line).items() if isinstance(text, str)}
        return {name: given[name][0] for name in names}, said


def lm_eval_metrics(path: Path, wanted: Mapping[str, str]) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics in a file of lm_eval's, and its versions. wanted: metric → 'task metric,filter', or '' for the only
    one of that name. Raises EvaluationError."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = {(task, name): value for task, entry in told["results"].items() for name, value in entry.items()}
        kept = {name: told[name] for name in _KEPT if told.get(name)}
        kept |= {name: value for name, value in (told.get("config") or {}).items() if name in _SEEDS}
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise EvaluationError(f"{path.name} is not what lm_eval writes ({type(error).__name__}: {error})") from error
    metrics: dict[str, float] = {}
    for metric, where in wanted.items():
        task, name = _entry(metric, where, entries)
        metrics[metric] = float(entries[task, name])
        spread = entries.get((task, _of_error(name)))
        if spread is not None and _is_number(spread):
            metrics[metric + STDERR] = float(spread)
    return metrics, kept


def _entry(metric: str, where: str, entries: Mapping[tuple[str, str], Any]) -> tuple[str, str]:
    # sample_len and the like have no filter, and no comma.
    numbers = [key for key, value in entries.items() if "," in key[1] and STDERR not in key[1] and _is_number(value)]
    found = [key for key in numbers if where == " ".join(key) or (not where and metric in _names(key[1]))]
    if len(found) == 1:
        return found[0]
    given = "; ".join(map(" ".join, found or numbers))
    what = "several results are called so" if found else "lm_eval gave no such result"
    raise EvaluationError(f"{metric}: {what}; write `result:` with one of: {given}")


def _names(entry: str) -> Iterator[str]:
    name = entry.partition(",")[0]
    yield from (name, _SHORT.get(name, name))


def _of_error(name: str) -> str:
    """'acc,none' → 'acc_stderr,none'."""
    metric, comma, chosen = name.partition(",")
    return f"{metric}{STDERR}{comma}{chosen}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _newest(folder: Path) -> Path:
    found = sorted(folder.rglob("results*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise EvaluationError("wrote no results*.json to {output}; give it the folder (lm_eval: --output_path)")
    return found[-1]
