"""Commented study files to start from."""

from __future__ import annotations

from typing import Final

from planner.space.expressions import suggestion
from planner.space.types import StudyError

__all__ = ["TEMPLATES", "study_template"]

_TAIL = """
# When to stop: whichever comes first. cost also as "5%" of the full grid, or as "$20" with a price.
stop: {accuracy: 0.95, cost: 2h}

# price: {per_accelerator_hour: 2.50}
"""

_VLLM = """# A study of vLLM with static batches. Check it: sweepwise validate FILE. See its size: sweepwise plan FILE.
study:
  name: my-model
  storage: sqlite:///sweepwise.db

space:
  axes:
    # scope engine: a change restarts the engine. Every other axis is cheap to change.
    tensor_parallel_size: {values: [1], scope: engine, scale: log}
    input_len:  {values: [128, 256, 512, 1024], scale: log}
    output_len: {values: [16, 64, 256, 1024], scale: log}
    batch_size: {range: [1, 64], scale: log}          # every integer
  constraints: ["input_len + output_len <= 2048"]

runner:
  kind: vllm
  model: facebook/opt-125m      # a directory with a config.json, or a name on the hub
  load_format: dummy            # random weights: the timing of any architecture, with no download of weights
  repeats: 3
  warmup: 1
  # every other engine argument of vLLM goes here: dtype, max_num_seqs, gpu_memory_utilization ...

# What must be predicted, in vLLM's names.
targets: [ttft_ms, tpot_ms, output_throughput]
""" + _TAIL

_REPLAY = """# A study over a grid that was measured before: what would adaptive sampling have saved? No engine needed.
study: {name: my-old-sweep}

space:
  axes:
    # values default to the table's; each axis is a column.
    model:      {scale: category, scope: engine}
    n_gpus:     {scale: log, scope: engine}
    batch_size: {scale: log}

runner:
  kind: replay
  table: grid.csv               # CSV or Parquet, beside this file; rows with equal axis values are repeats
  cost_s: latency_s             # seconds of a run: a column, a number, or an expression over columns
  accelerators: n_gpus
  # status: status              # a column that says ok, or why the run failed
  # engine_start_s: 60
  # trajectory: output_len      # a run at one value also measures every smaller one

targets: [latency_s]
""" + _TAIL

_COMMAND = """# A study of any benchmark that is a command: its last line of output is one JSON object of metrics.
study: {name: my-benchmark}

space:
  axes:
    input_len:  {values: [128, 256, 512, 1024], scale: log}
    batch_size: {values: [1, 2, 4, 8, 16, 32], scale: log}

runner:
  kind: command
  # No shell. {axis} is replaced by the point's value; exit 0 is ok, anything else a failed run.
  command: [python, bench.py, --input-len, "{input_len}", --batch-size, "{batch_size}"]
  timeout_s: 600

targets: [latency_ms]
""" + _TAIL

_SERVE = """# A study of a vLLM server under load. Check it: sweepwise validate FILE. See its size: sweepwise plan FILE.
study:
  name: my-server
  storage: sqlite:///sweepwise.db

space:
  axes:
    # scope engine: a change restarts the server. Any argument of vLLM's server can be an axis.
    tensor_parallel_size: {values: [1], scope: engine, scale: log}
    max_num_seqs:         {values: [64, 256], scope: engine, scale: log}
    input_len:       {values: [128, 512, 2048], scale: log}
    output_len:      {values: [64, 256], scale: log}
    # A closed loop: so many requests are always in flight. For an open loop replace it by
    # request_rate: {values: [1, 2, 4, 8, 16, 32], scale: log}          # arrivals per second
    max_concurrency: {values: [1, 2, 4, 8, 16, 32, 64, 128], scale: log}

runner:
  kind: vllm-serve
  model: facebook/opt-125m      # a directory, or a name on the hub; every other server argument goes here as well
  # base_url: http://host:8000  # in place of model: a server that is up already (then without axes of scope engine)
  duration_s: 30                # seconds of steady state for each point
  # tolerance: 0.05             # go on until the 90 % interval of each target is within 5 % …
  # max_duration_s: 300         # … or this long
  # range_ratio: 0.2            # random lengths within 20 % of input_len and output_len
  # dataset: traffic.csv        # real traffic: a trace with timestamps and token counts, or ShareGPT's JSON

# What must be predicted, in vLLM's names. A percentile needs many requests: 64 for p90, 662 for p99.
targets: [ttft_ms, tpot_ms, output_throughput]
slo: ["ttft_ms <= 500", "tpot_ms <= 40"]
""" + _TAIL

TEMPLATES: Final = {"vllm": _VLLM, "serve": _SERVE, "replay": _REPLAY, "command": _COMMAND}


def study_template(name: str) -> str:
    """The study file called `name`, as text. Raises StudyError."""
    if name not in TEMPLATES:
        raise StudyError(f"--template: unknown template '{name}'{suggestion(name, TEMPLATES)}")
    return TEMPLATES[name]
