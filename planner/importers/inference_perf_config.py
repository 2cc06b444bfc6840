"""What an inference-perf run was asked to do: the config.yaml that versions since 0.2 write beside the reports.

inference_perf/config.py, later inference_perf/config/: api, data, load, server. Tokens, addresses and seeds are not
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from planner.importers.values import plain, whole_number
from planner.space.types import Value

__all__ = ["Config", "read_config"]

_SETTINGS: Final = (("server", "model_name", "model"), ("server", "type", "backend"), ("server", "ignore_eos", ""),
                    ("api", "type", "api_type"), ("api", "streaming", ""), ("data", "type", "dataset_name"),
                    ("load", "type", "load_type"))
_WORKERS: Final = ("num_workers", "worker_max_concurrency")
_LARGEST: Final = 1_000_000
"""Bytes. A configuration has a few thousand."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one stage. stages: how many the run has, 0 if unknown. is_of_sessions: whether the load is of
    conversations that are played again."""

    fields: Mapping[str, Value] = field(default_factory=dict)
    others: Mapping[str, Value] = field(default_factory=dict)
    stages: int = 0
    request_rate: Value | None = None
    max_concurrency: Value | None = None
    is_of_sessions: bool = False


def read_config(path: Path, stage: int | None, notes: list[str]) -> Config:
    """The configuration beside a report; nothing if there is none, or if another tool wrote it."""
    if not path.is_file():
        notes.append("config.yaml is not beside the file: model and lengths asked for are not known")
        return Config()
    data = _yaml(path)
    if not isinstance(data, dict) or not data.keys() >= {"load", "data", "server"}:
        notes.append("config.yaml is not whole, or not of inference-perf: its settings are left out")
        return Config()
    load = _section(data, "load")
    fields = {name or key: value for part, key, name in _SETTINGS
              if (value := plain(_section(data, part).get(key))) is not None}
    goals = _section(_section(_section(data, "report"), "goodput"), "constraints")
    for name, seconds in goals.items():
        if isinstance(seconds, int | float) and plain(seconds) is not None:
            fields[f"goodput_{name}_ms"] = 1000 * seconds
    fields |= _lengths(_section(data, "data"))
    listed = load.get("stages")
    stages = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    # A sweep finds its stages itself. The only stage is that of a report over all.
    index = 0 if stage is None and len(stages) == 1 else stage
    own = stages[index] if index is not None and index < len(stages) else {}
    return Config(fields, {name: value for name in _WORKERS if (value := plain(load.get(name))) is not None},
                  len(stages), *_asked(own, load.get("type")), load.get("type") == "trace_session_replay")


def _asked(stage: Mapping[str, Any], kind: Any) -> tuple[Value | None, Value | None]:
    """Rate and limit of concurrency of a stage. With a limit, the rate is set by the tool, and says nothing."""
    limit = plain(stage.get("concurrency_level", stage.get("concurrent_sessions")))
    return (None if limit is not None or kind == "concurrent" else plain(stage.get("rate"))), limit


def _lengths(data: Mapping[str, Any]) -> dict[str, Value]:
    """Lengths that are the same for all requests."""
    if data.get("trace"):
        return {}
    shared = _section(data, "shared_prefix")
    if data.get("type") == "shared_prefix" and shared:
        several = shared.get("enable_multi_turn_chat") or shared.get("question_distribution") or shared.get(
            "multimodal")
        system, question = _fixed(shared.get("system_prompt_len")), _fixed(shared.get("question_len"))
        inputs = None if several or system is None or question is None else system + question
        outputs = None if shared.get("output_distribution") else _fixed(shared.get("output_len"))
    elif data.get("type") in {"random", "synthetic"}:
        inputs, outputs = _fixed(data.get("input_distribution")), _fixed(data.get("output_distribution"))
    else:
        return {}
    return {name: value for name, value in (("input_len", inputs), ("output_len", outputs)) if value}


def _fixed(length: Any) -> int | None:
    """The one value of a length, or of a distribution without any width."""
    if isinstance(length, dict):
        low, high = length.get("min"), length.get("max")
        return _fixed(low) if low == high else None
    return whole_number(length, 0)


def _section(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _yaml(path: Path) -> Any:
    """The content of the file; None if it is not whole."""
    import yaml

    from planner.space.yaml_text import YAML_ERRORS, BoundedLoader

    try:
        if path.stat().st_size > _LARGEST:
            return None
        return yaml.load(path.read_bytes().decode("utf-8-sig"), Loader=BoundedLoader)
    except (OSError, *YAML_ERRORS):
        return None
