"""The `runner: {kind: vllm-serve}` section of a study file."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

__all__ = ["ServeSettings"]


class ServeSettings(BaseModel):
    """Our own settings. Every other key is an argument of vLLM's server."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)

    model: str | None = None
    """A model directory, relative to the study file, or a hub name."""
    client: Literal["vllm", "guidellm", "aiperf"] = "vllm"
    """Which client drives the server: vLLM's `bench serve`, GuideLLM or AIPerf."""
    base_url: str | None = Field(default=None, pattern=r"^https?://.")
    """A server that is up already, without a path; no engine axis can be swept then."""
    tokenizer: str | None = None
    """A folder or a hub name; by default the model's."""
    duration_s: PositiveFloat = 30.0
    """Seconds that the steady part of a run should last at least."""
    max_duration_s: PositiveFloat = 300.0
    """Seconds after which a point is measured no longer, even if `tolerance` asks for more."""
    tolerance: PositiveFloat | None = None
    """Goes on until the 90 % interval of each target is no wider than ± this share of it."""
    repeats: PositiveInt = 1
    """Runs of the client for each point."""
    failed_share: NonNegativeFloat = 0.01
    """Share of failed requests above which the run has failed."""
    timeout_s: PositiveFloat = 600.0
    """Seconds for one run of the client."""
    start_timeout_s: PositiveFloat = 1800.0
    """Seconds for a server's start."""
    accelerators: PositiveFloat | None = None
    """Devices of a server; by default the product of its parallel sizes."""
    dataset: str = "random"
    """`random` (uniform lengths) or `lognormal`; or a file of real traffic, relative to the study file: a trace (CSV or
    JSON Lines with timestamps and token counts) or conversations in ShareGPT's form."""
    input_len: PositiveInt = 128
    output_len: PositiveInt = 128
    range_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Spread of lengths that are drawn: uniform within ± this share; for `lognormal` the standard deviation over the
    mean."""
    max_concurrency: PositiveInt | None = None
    """Most requests in flight. With a finite rate, the client holds back what is above it."""
    request_rate: float = Field(default=math.inf, gt=0)
    """Requests per second; infinite in a closed loop. Of a trace: its mean rate after stretching its time."""
    burstiness: PositiveFloat = 1.0
    """Of arrivals: 1 is a Poisson process, less comes in bursts, infinite is even."""
    input_scale: PositiveFloat = 1.0
    """Factor on the prompts of a trace."""
    output_scale: PositiveFloat = 1.0
    """Factor on the outputs of a trace."""
    kv_cache_gib: PositiveFloat | None = None
    """Room for the KV cache of each rank."""
    omp_threads_bind: str | None = None
    """The cores of each rank on a CPU ("0-3|4-7")."""
    load_format: str | None = None
    enforce_eager: bool | None = None
    tensor_parallel_size: PositiveInt | None = None
    pipeline_parallel_size: PositiveInt | None = None
    data_parallel_size: PositiveInt | None = None

    @model_validator(mode="after")
    def _durations_in_order(self) -> Self:
        if self.max_duration_s < self.duration_s:
            raise ValueError(f"max_duration_s {self.max_duration_s:g} is less than duration_s {self.duration_s:g}")
        return self
