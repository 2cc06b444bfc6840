"""Parameters of a vLLM sweep: in the result, behind `run_number`, and in the name of its folder.

A folder is called after its combination (vllm/benchmarks/sweep/serve.py, 0.11 and later; vllm/benchmarks/serve_multi.py
before):

    SERVE--max_num_seqs=4-dtype=half-BENCH--random_input_len=32        also …-WL--request_rate=8 or …/request_rate=8
    SERVE-max_num_seqs=4-BENCH-random_input_len=32

The first sweeps wrote only the server's parameters into the result. So what a result lacks is read off the name. A
combination may have a name of its own (`_benchmark_name`), which says nothing. A hyphen may part two parameters or be
inside one: the name of an argument that we know decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.vllm_arguments import ARGUMENTS

__all__ = ["named_parameters", "parameters_of"]

_COMBINATION: Final = re.compile(r"(?:SERVE|BENCH)-(?=.)")
_SECTION: Final = re.compile(r"(?:^|-)(?:SERVE|BENCH|WL|SLA)--?")
_TUNED: Final = re.compile(r"(request_rate|max_concurrency)=[^=]+")
_NAME: Final = re.compile(r"[A-Za-z_][\w.\-]*")
_LEVELS: Final = 2


def parameters_of(record: Mapping[str, Any]) -> list[str]:
    """The keys behind `run_number`, which a sweep adds last; none if the keys are in another order."""
    keys = list(record)
    after = keys[keys.index("run_number") + 1:] if "run_number" in record else []
    return [] if "total_input_tokens" in after else after


def named_parameters(record: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The parameters that only the names of the file's folders say, as text."""
    if "_benchmark_name" in record or "run_number" not in record:
        return {}
    told = {key.replace("-", "_") for key in record}
    found: dict[str, str] = {}
    for folder in list(path.absolute().parents)[:_LEVELS]:
        if _TUNED.fullmatch(folder.name) or _COMBINATION.match(folder.name):
            found = {**_pairs(folder.name), **found}
    return {name: value for name, value in found.items() if name not in told}


def _pairs(name: str) -> dict[str, str]:
    """The parameters in a folder's name, as text."""
    found: dict[str, str] = {}
    for section in _SECTION.split(name):
        key, *parts = section.split("=")
        for i, part in enumerate(parts):
            value, after = (part, "") if i == len(parts) - 1 else _parted(part)
            if _NAME.fullmatch(key) and value != "None":
                found[key.replace("-", "_")] = value
            key = after
    return found


def _parted(text: str) -> tuple[str, str]:
    """`4-max-model-len` → ("4", "max-model-len")."""
    places = [i for i, letter in enumerate(text) if letter == "-"]
    known = (i for i in places if text[i + 1:].replace("-", "_").partition(".")[0] in ARGUMENTS)
    place = next(known, places[-1] if places else len(text))
    return text[:place], text[place + 1:]
