"""The section `quality:` of a study file: what is evaluated once for each engine configuration, beside its speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from planner.space.axis_spec import AxisSpec
from planner.space.evaluation import EXACT_MATCH, PERPLEXITY, Evaluation
from planner.space.target_spec import TargetSpec
from planner.space.types import Direction, Kind, Metric, Role, Scope
from planner.space.validation import Number, StrictModel

__all__ = ["SPEED_ONLY", "QualityMetric", "QualitySpec", "axes_of_quality"]

SPEED_ONLY: Final = frozenset({
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "decode_context_parallel_size",
    "prefill_context_parallel_size", "enable_expert_parallel", "distributed_executor_backend",
    "max_num_seqs", "max_num_batched_tokens", "max_num_partial_prefills", "enable_chunked_prefill",
    "enable_prefix_caching", "scheduling_policy", "async_scheduling", "stream_interval",
    "gpu_memory_utilization", "kv_cache_gib", "kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size",
    "swap_space", "cpu_offload_gb", "enforce_eager", "omp_threads_bind"})
"""Arguments of an engine that divide or order its work and leave the model as it is. They may change the order of
sums, and with it the last digits of a result, which an evaluation does not tell from chance."""
_BUILT_IN: Final = {PERPLEXITY: Metric(PERPLEXITY, "", Direction.MINIMIZE),
                    EXACT_MATCH: TargetSpec(metric=EXACT_MATCH, direction=Direction.MAXIMIZE,
                                            kind=Kind.SHARE).resolve()}


def _words(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("give a list of words, as in [lm_eval, --tasks, mine]; there is no shell")
    return value


class QualityMetric(TargetSpec):
    """A metric that the command gives."""

    result: str = ""
    """Where lm_eval's results have it: 'gsm8k exact_match,strict-match'. By default under the metric's own name."""


class QualitySpec(StrictModel):
    """What is evaluated once for each combination of the axes that can change it, on the server that is up."""

    command: Annotated[list[str], BeforeValidator(_words)] = Field(default_factory=list)
    """Program and arguments; {base_url}, {model}, {tokenizer}, {seed} and {output}, an empty folder, are filled in. Its
    metrics are the last line that it prints, a JSON object, or what lm_eval writes to {output}."""
    metrics: list[QualityMetric] = Field(default_factory=list)
    """What the command gives, as in `targets`."""
    perplexity: str = ""
    """A file of text, a document a line, or JSON Lines with `text`: its perplexity is evaluated."""
    exact_match: str = ""
    """JSON Lines with `prompt` and `answer`: the share of answers that the model gives is evaluated."""
    depends_on: list[str] | None = None
    """The axes that can change the result. Default: those of scope engine, without parallel sizes and limits of
    batches."""
    timeout_s: Number = Field(default=3600.0, gt=0, allow_inf_nan=False)
    """Seconds that one evaluation may take."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.command or self.perplexity or self.exact_match):
            raise ValueError("evaluates nothing; give command, perplexity or exact_match")
        if bool(self.command) != bool(self.metrics):
            raise ValueError("command and metrics belong together; give both, or neither")
        names = self.evaluation.metrics
        if len(set(names)) < len(names):
            raise ValueError("gives one metric twice; name the command's metrics otherwise")
        if any(metric.depends_on is not None for metric in self.metrics):
            raise ValueError("depends_on holds for all metrics; write it beside them")
        return self

    @property
    def evaluation(self) -> Evaluation:
        """As a runner needs it."""
        return Evaluation(tuple(self.command), {metric.metric: metric.result for metric in self.metrics},
                          self.perplexity, self.exact_match, self.timeout_s)

    def resolve(self, axes: Mapping[str, AxisSpec]) -> tuple[Metric, ...]:
        """The metrics, with the axes that they depend on."""
        given = {metric.metric: metric.resolve() for metric in self.metrics} | _BUILT_IN
        depends_on = axes_of_quality(axes) if self.depends_on is None else tuple(self.depends_on)
        return tuple(given[name].depending_on(depends_on) for name in self.evaluation.metrics)


def axes_of_quality(axes: Mapping[str, AxisSpec]) -> tuple[str, ...]:
    """The axes that can change a model's answers, unless the study says otherwise: those of scope engine but for the
    arguments that only divide or order the work."""
    return tuple(name for name, axis in axes.items() if axis.scope is Scope.ENGINE and name not in SPEED_ONLY
                 and Role.ACCELERATORS not in axis.roles(name))
