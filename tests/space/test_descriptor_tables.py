"""The tables of public models and devices: found by many names, and every number within what such things have."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from planner.space import descriptor_tables
from planner.space.descriptor_tables import device_named, model_named

FOLDER = Path(descriptor_tables.__file__).parent / "data"
CHECKED = {"models": {"config", "size"}, "devices": {"vendor", "tables", "part"}}
LINES = {kind: list(csv.DictReader((FOLDER / f"{kind}.csv").read_text().splitlines())) for kind in CHECKED}


def numbers_of(kind: str, line: Mapping[str, str]) -> dict[str, float]:
    return dict((model_named if kind == "models" else device_named)(line["name"]))


def of_a_model(numbers: Mapping[str, float], checked: str) -> list[bool]:
    """What holds for every model of a known configuration."""
    size, active, layers, width = (numbers[name] for name in ("params_b", "active_b", "layers", "width"))
    cache, experts = numbers["kv_bytes"], numbers["experts"]
    return [
        # A layer has its attention, about 4·width², and the part after it, 6 to 16·width²; small models have large
        # embeddings, and encoder-decoders layers of both kinds. Of experts this holds for those that a token uses.
        9 < active * 1e9 / layers / width**2 < 40,
        size == active if experts == 1 else active < size < active * experts,
        # From one key-value head of 64 to more than the layer is wide; heads have a multiple of 64 numbers together.
        0.05 < cache / layers / width < 6,
        cache % (layers * 128) == 0 or checked != "config",
    ]


def of_a_device(numbers: Mapping[str, float]) -> list[bool]:
    """What holds for every device: half the bits, twice the speed, where it is no other kind of unit."""
    peak, bandwidth, memory = (numbers[name] for name in ("tflops", "bandwidth_gb_s", "memory_gb"))
    ratios = {name: numbers[f"tflops_{name}"] / peak for name in ("fp32", "tf32", "fp8", "int8")
              if f"tflops_{name}" in numbers}
    return [
        35 < peak * 1e3 / bandwidth < 600,  # operations for each byte
        0.015 < memory / bandwidth < 0.09,  # seconds to read all memory
        0.03 < ratios.get("fp32", 0.5) < 0.51,
        abs(ratios.get("tf32", 0.5) - 0.5) < 0.015,
        any(abs(ratios.get("fp8", 1.0) - each) < 0.03 for each in (1, 2)),
        ratios.get("int8", 1.0) < 0.1 or any(abs(ratios.get("int8", 1.0) - each) < 0.03 for each in (1, 2, 4)),
        20 <= numbers.get("link_gb_s", 20.0) < bandwidth,
        50 <= numbers.get("power_w", 50.0) <= 1500,
    ]


def holds(kind: str, line: Mapping[str, str], numbers: Mapping[str, float]) -> bool:
    return all(of_a_model(numbers, line["checked"]) if kind == "models" else of_a_device(numbers))


@pytest.mark.parametrize("kind", CHECKED)
def test_every_line_is_plausible_and_says_its_source_and_what_it_was_compared_with(kind: str) -> None:
    assert len({line["name"] for line in LINES[kind]}) == len(LINES[kind]) > 40
    for line in LINES[kind]:
        assert len(line["source"]) > 4 and line["checked"] in CHECKED[kind], line["name"]
        assert holds(kind, line, numbers_of(kind, line)), line["name"]


@pytest.mark.parametrize(("kind", "name"), [
    *(("models", name) for name in ("active_b", "layers", "width")),
    *(("devices", name) for name in ("tflops", "bandwidth_gb_s", "memory_gb", "tflops_fp8", "tflops_tf32")),
])
@pytest.mark.parametrize("factor", [0.1, 10])
def test_a_decimal_point_in_the_wrong_place_is_noticed(kind: str, name: str, factor: float) -> None:
    wrong = [(line, {**numbers, name: numbers[name] * factor}) for line in LINES[kind]
             if name in (numbers := numbers_of(kind, line))]
    assert wrong
    assert not [line["name"] for line, numbers in wrong if holds(kind, line, numbers)]


@pytest.mark.parametrize("place", range(4))
def test_a_wrong_digit_of_a_cache_is_noticed(place: int) -> None:
    for line in LINES["models"]:
        numbers = numbers_of("models", line)
        wrong = {**numbers, "kv_bytes": numbers["kv_bytes"] + 10**place}
        assert line["checked"] != "config" or not holds("models", line, wrong), line["name"]


@pytest.mark.parametrize(("name", "same"), [
    ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-40GB", "a100-40gb"), ("Tesla V100-SXM2-32GB", "v100"),
    ("AMD Instinct MI300X", "mi300x"), ("NVIDIA A100 80GB PCIe", "a100-pcie"), ("A100-PCIE-40GB", "a100-pcie-40gb"),
    ("NVIDIA L40S", "l40s"), ("Intel Data Center GPU Max 1550", "pvc"), ("Tesla T4", "t4"), ("8x H100", ""),
    ("H100 96GB", ""), ("my card", ""), ("", ""), ("-", ""),
])
def test_devices_by_the_names_that_people_and_drivers_give_them(name: str, same: str) -> None:
    assert device_named(name) == (device_named(same) if same else {})
    assert not same or device_named(same)


@pytest.mark.parametrize(("name", "billions"), [
    ("meta-llama/Meta-Llama-3-8B-Instruct", 8.03), ("Qwen/Qwen2.5-7B-Instruct-AWQ", 7.616),
    ("microsoft/phi-1_5", 1.418),
    ("deepseek-ai/DeepSeek-R1-0528", 671.03), ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", None), ("phi-1-7", None),
    ("bigcode/starcoder-3b", None), ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", None), ("llama", None), ("", None),
])
def test_variants_of_a_model_have_its_numbers_and_other_sizes_have_not(name: str, billions: float | None) -> None:
    assert model_named(name).get("params_b") == billions
