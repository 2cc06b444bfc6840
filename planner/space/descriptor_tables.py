"""Public models and devices by name: the numbers of data/models.csv and data/devices.csv, each line with its source.

models.csv: config.json on Hugging Face, of the repository named. Parameters as a forward pass has them: an embedding
that is also the output counts once, layers that only draft further tokens and what sees images not. active_b: all but
the experts that a token does not use, as `config_numbers` counts. kv_bytes: of one token in the key-value cache, at 16
bits a number. experts: 1 of a model without. devices.csv: data sheets. tflops: the peak at bf16 or fp16, dense, as all
of them are; link_gb_s: to other devices, both ways together. A name without a size or a form means the usual one.

checked: what a line was compared with. A model: `config`, its configuration as engines, converters and papers' code
keep it, from which parameters were counted; `size`, only the published size. A device: `vendor`, what the manufacturer
says elsewhere; `tables`, independent tables, or cores and clocks; `part`, these without the peak.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["device_named", "model_named"]

_DATA: Final = Path(__file__).parent / "data"
_WORDS: Final = {"name", "checked", "source"}  # columns that hold no number
_MAKERS: Final = re.compile(r"^(?:nvidia|amd|intel|google|tesla|instinct|geforce|meta|habana|data-center-gpu)-")
_FORMS: Final = re.compile(r"-(?:sxm\d?|hbm\d?e?|oam|gpu|\d+x)(?=-|$)")


def model_named(name: str) -> Mapping[str, float]:
    """What is known of the model called `name`, as 'meta-llama/Llama-2-7b-hf'; nothing if it is not in the table.

    A variant has the numbers of its model ('-Instruct', '-AWQ'); one of another size, as a distilled one, has not.
    """
    key, table = _plain(name.rsplit("/", maxsplit=1)[-1]), _table("models")
    found = max((known for known in table if key == known or key.startswith(f"{known}-")), key=len, default="")
    rest = key.removeprefix(found)
    # "phi-1-7" is no variant of phi-1, and "deepseek-r1-distill-qwen-32b" none of deepseek-r1; a date is one.
    other = re.match(r"-\d{1,2}(?!\d)", rest) or re.search(r"distill|-\d+(?:-\d+)?[bm](?:-|$)", rest)
    return {} if other or not found else table[found]


def device_named(name: str) -> Mapping[str, float]:
    """What is known of the device called `name`, as 'NVIDIA H100 80GB HBM3' or 'a100-40gb'; nothing if it is not in
    the table."""
    key = _plain(name)
    while (shorter := _MAKERS.sub("", key)) != key:
        key = shorter
    table = _table("devices")
    return next((table[each] for each in (key, _FORMS.sub("", key), _without_memory(_FORMS.sub("", key)))
                 if each in table), {})


def _without_memory(key: str) -> str:
    """The key without a memory size that is the one in the table."""
    size = re.search(r"-(\d+)gb(?=-|$)", key)
    bare = key.replace(size[0], "") if size else key
    return bare if size and _table("devices").get(bare, {}).get("memory_gb") == float(size[1]) else key


def _plain(name: str) -> str:
    key = re.sub(r"[\s_./()]+", "-", name.strip().lower()).strip("-")
    return _MAKERS.sub("", re.sub(r"(\d)-gb\b", r"\1gb", key))


@cache
def _table(name: str) -> Mapping[str, Mapping[str, float]]:
    with (_DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {_plain(row["name"]): {key: float(value) for key, value in row.items()
                                      if value and key not in _WORDS} for row in csv.DictReader(file)}
