"""What GuideLLM's report says of synthetic prompts, and GuideLLM's other outputs, which are not read.

Lengths asked for: request_loader.data of each benchmark (0.2, 0.3), args.data of the report (0.4 … 0.6),
config.spec.data (0.7, 0.8). They are text, `prompt_tokens=256,output_tokens=128` or an object (guidellm/dataset/
synthetic.py of 0.2, data/deserializers/synthetic.py), or an object of kind synthetic_text. With deviations, prefixes
or several turns no length is that of all requests.

The CSV has one line of names in 0.2 and 0.3 and three since 0.4 (benchmark/outputs/csv.py), and no percentile 50. The
HTML is a page around the same figures, the YAML is the JSON report in another form.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.values import whole_number
from planner.space.types import StudyError, Value

__all__ = ["asked_lengths", "other_output", "refuse_output"]

_LENGTHS: Final = {"prompt_tokens": "input_len", "output_tokens": "output_len"}
_HARMLESS: Final = frozenset({"kind", "samples", "source", "load_kwargs", "random_seed", "model", "processor",
                              "merge_after"})
_LONGEST: Final = 2_000
_CSV: Final = (("Type", "Run Id", "Id", "Name", "Start Time", "End Time", "Duration"), ("Run Info", "Run Info"))
_YAML: Final = re.compile(r"(args|benchmarks|config|metadata):")
_COUNT: Final = re.compile(r"\d{1,15}")
_PAGE: Final = re.compile(r"<title>\s*GuideLLM", re.IGNORECASE)


# ------------------------------------------------------------------------------------------------------------- lengths


def asked_lengths(report: Mapping[str, Any], benchmark: Any) -> dict[str, Value]:
    """input_len and output_len of synthetic prompts if they are the same for all requests; else none."""
    asked = _synthetic(_data(report, benchmark))
    given = {key: value for key, value in asked.items() if value and key not in _HARMLESS}
    if "prompt_tokens" not in given or given.pop("turns", 1) != 1 or not given.keys() <= _LENGTHS.keys():
        return {}
    return {_LENGTHS[key]: length for key, value in given.items() if (length := whole_number(value)) is not None}


def _data(report: Mapping[str, Any], benchmark: Any) -> Any:
    loader = _inner(benchmark, "request_loader")
    if "data" in loader:
        return loader["data"]
    overrides = _inner(report, "config").get("benchmarks")
    if isinstance(overrides, list) and any(overrides):
        return None  # a benchmark may have data of its own
    data = _inner(report, "config", "spec").get("data", _inner(report, "args").get("data"))
    return data[0] if isinstance(data, list) and len(data) == 1 else None


def _synthetic(data: Any) -> Mapping[str, Any]:
    """The description of synthetic prompts; empty if the data are others."""
    if isinstance(data, dict):
        return data if data.get("kind", "synthetic_text") == "synthetic_text" else {}
    if not isinstance(data, str) or len(data) > _LONGEST:
        return {}
    if data.strip().startswith("{"):
        return _object(data.strip())
    pairs = [item.partition("=") for item in data.split(",")]
    if not all(equals for _, equals, _ in pairs):
        return {}
    return {key.strip(): int(value) if _COUNT.fullmatch(value.strip()) else value.strip() for key, _, value in pairs}


def _object(text: str) -> Mapping[str, Any]:
    """An object in JSON, or as Python shows it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def _inner(data: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


# ------------------------------------------------------------------------------------------------------- other outputs


def other_output(source: Source) -> str:
    """"CSV", "YAML" or "HTML page" if the source is such an output of GuideLLM; else ""."""
    ending = "" if source.is_folder else source.path.suffix.lower()
    if ending == ".csv":
        first = tuple(cell.strip() for cell in next(source.lines(), "").split(","))
        return "CSV" if any(first[:len(names)] == names for names in _CSV) else ""
    if ending in {".html", ".htm"}:
        return "HTML page" if _PAGE.search(source.head) else ""
    if ending in {".yaml", ".yml"} and _YAML.match(source.head):
        return "YAML" if any("type_: generative_benchmark" in line for line in source.lines()) else ""
    return ""


def refuse_output(path: Path, name: str, what: str) -> StudyError:
    """The error for another output of GuideLLM than its JSON."""
    beside = next((other for other in (path.with_suffix(".json"), path.with_name("benchmarks.json"))
                   if other.is_file()), None)
    fix = f"import {beside.name} beside it" if beside else (
        f"import the JSON report: GuideLLM writes it with --output kind=json (before 0.7: --output-path "
        f"{path.with_suffix('.json').name})")
    return StudyError(f"{name}: is the {what} of GuideLLM; {fix}")
