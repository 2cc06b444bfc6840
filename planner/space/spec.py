"""The study file as pydantic models: pure validation; the only file opened here is the study file itself."""

from __future__ import annotations

import keyword
import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from planner.space.address import ADDRESS, check_address
from planner.space.axis_spec import ANY_VALUE, AxisSpec, plain
from planner.space.expressions import FUNCTIONS, parse, suggestion
from planner.space.metrics import metric_named
from planner.space.prior_spec import PriorSpec, as_list
from planner.space.quality_spec import QualitySpec
from planner.space.slo import Boundary, parse_absolute_tier, parse_condition
from planner.space.target_spec import TargetSpec
from planner.space.types import Metric, Scope, StudyError
from planner.space.validation import Number, StrictModel, Whole, load_yaml, validate_model
from planner.space.workload import Workload, WorkloadEntry, as_entries
from planner.space.yaml_text import LARGEST_TEXT

__all__ = ["AxisSpec", "CostLimit", "PriceSpec", "PriorSpec", "RunnerSpec", "SpaceSpec", "StopSpec", "StudySpec",
           "TargetSpec", "parse_spec", "read_spec", "validate_model"]

_COST = re.compile(r"^\s*(\$?)\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|d|%)?\s*$")
_COST_HINT: Final = "cannot read the cost; write it like '2h', '45m', '90s', '5%' or '$20'"
_UNITS: Final = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class CostLimit(StrictModel):
    """A budget: accelerator-seconds, a share of the full grid's cost, or money (through `price`)."""

    kind: Literal["seconds", "share", "money"]
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """The limit in '2h', '90', '5%' or '$20'. Raises ValueError that says what to write."""
        match = _COST.match(text)
        if match is None or (match[1] and match[3]):
            raise ValueError(_COST_HINT)
        amount = float(match[2])
        if not 0 < amount < math.inf:
            raise ValueError("must be above 0, and finite")
        if match[1]:
            return cls(kind="money", amount=amount)
        if match[3] == "%":
            return cls(kind="share", amount=amount / 100)
        return cls(kind="seconds", amount=amount * _UNITS[match[3]])


class SpaceSpec(StrictModel):
    """The grid: axes, and the constraints that its points meet."""

    axes: dict[str, AxisSpec] = Field(min_length=1)
    constraints: list[str] = Field(default_factory=list)
    """Conditions over axis names, such as 'input_len + output_len <= 4096'."""

    @field_validator("axes")
    @classmethod
    def _names(cls, axes: dict[str, AxisSpec]) -> dict[str, AxisSpec]:
        for name in axes:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"'{name}' cannot name an axis; use letters, digits and _, and name its column by "
                                 "`map` (import: --map)")
            if len(name) > 200:  # Optuna's databases hold names of 512 characters at most
                raise ValueError(f"'{name[:20]}…' is too long for an axis; use a name of up to 200 characters")
            if keyword.iskeyword(name) or name in FUNCTIONS:
                raise ValueError(f"'{name}' cannot name an axis: it is a word of the expressions; use another name")
        return axes


class StudySection(StrictModel):
    """Where the record is kept."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    """The study's name. Default: the name of the study file."""
    storage: str = Field(default="sqlite:///sweepwise.db", repr=False, json_schema_extra={"pattern": ADDRESS})
    """An Optuna RDB address; SQLite by default, relative to the working directory."""

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        if name is not None and not name.isprintable():
            raise ValueError("must be one line of printable text")
        return name

    @field_validator("storage", mode="before")
    @classmethod
    def _storage(cls, storage: Any) -> str:
        try:
            return check_address(storage)
        except ValueError as error:  # pydantic would repeat the address, and a password in it
            raise StudyError(f"study.storage: {error}") from None


class RunnerSpec(BaseModel):
    """What measures: `kind` names an entry point of the group sweepwise.runners, which checks the other keys."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def settings(self) -> dict[str, Any]:
        """The runner's own keys."""
        return dict(self.model_extra or {})


class StopSpec(StrictModel):
    """When to stop: whichever comes first."""

    accuracy: Number | None = Field(default=None, gt=0, lt=1)
    """Estimated accuracy over the unmeasured points, for every target."""
    cost: str | float | None = None
    """Accelerator-seconds ('2h', '90s'), a share of the full grid ('5%'), or money ('$20')."""
    trials: Whole | None = Field(default=None, ge=1)
    """Finished runs, failed ones included."""
    boundary: str | list[str] | None = None
    """Conditions such as 'p99_ttft_ms <= 500 and tpot_ms <= 40', or a list of these: stop once it is known for each
    engine configuration and workload which loads meet them."""
    confidence: Number = Field(default=0.95, gt=0.5, lt=1)
    """Of `boundary`: probability with which each load must meet its conditions, or miss them. Of `difference`, where
    it is 0.9 unless given: 1 - the expected share of wrong findings."""
    difference: Number | None = Field(default=None, gt=0, le=1)
    """Share by which a point must differ from `prior` to count: stop once it is known where any does."""
    decision: Number | None = Field(default=None, gt=0.5, lt=1)
    """Probability that the chosen configuration meets `slo` and is within 2 % of the best that does, for `workload` or
    for each combination of given values: stop once it is reached, or once noise alone stands in the way."""
    shortlist: Whole = Field(default=1, ge=1)
    """Of `decision`: a case also ends once one of so few configurations is within 2 % of the best, with that
    probability."""

    @field_validator("cost", mode="before")
    @classmethod
    def _cost(cls, cost: Any) -> Any:
        if isinstance(cost, bool) or not isinstance(cost, str | int | float | None):
            raise ValueError(_COST_HINT)
        if cost is not None:
            CostLimit.parse(str(cost))
        return cost

    @property
    def cost_limit(self) -> CostLimit | None:
        """The parsed cost."""
        return None if self.cost is None else CostLimit.parse(str(self.cost))

    @property
    def difference_confidence(self) -> float:
        """Of `difference`."""
        return self.confidence if "confidence" in self.model_fields_set else 0.9

    @property
    def parsed_boundary(self) -> Boundary | None:
        """The boundary; None if none is asked for. Raises StudyError."""
        if self.boundary is None:
            return None
        if isinstance(self.boundary, str):
            tiers = [parse_absolute_tier(self.boundary, "stop.boundary")]
        else:
            tiers = [parse_absolute_tier(text, f"stop.boundary[{i}]") for i, text in enumerate(self.boundary)]
        if not tiers:
            raise StudyError("stop.boundary: is empty; write conditions, as in 'p99_ttft_ms <= 500', or delete it")
        return Boundary(tuple(dict.fromkeys(tiers)), self.confidence)


class PriceSpec(StrictModel):
    """What an accelerator costs."""

    per_accelerator_hour: Number = Field(gt=0, allow_inf_nan=False)


class StudySpec(StrictModel):
    """A whole study file."""

    study: StudySection = Field(default_factory=StudySection)
    space: SpaceSpec
    runner: RunnerSpec
    targets: list[str | TargetSpec] = Field(min_length=1)
    """The metrics to predict: vLLM's names, or mappings with a metric's properties."""
    stop: StopSpec = Field(default_factory=lambda: StopSpec(accuracy=0.95))
    price: PriceSpec | None = None
    slo: list[str] = Field(default_factory=list)
    """Conditions over metrics, such as 'p99_ttft_ms <= 500'."""
    prior: Annotated[list[PriorSpec], BeforeValidator(as_list)] = Field(default_factory=list)
    """Old studies and tables whose surfaces this study starts from."""
    workload: Annotated[list[WorkloadEntry], BeforeValidator(as_entries)] = Field(default_factory=list)
    """What traffic asks for: [{input_len: 1024, output_len: 128, weight: 0.7}, …], or {trace: FILE}."""
    baseline: dict[str, Annotated[bool | int | float | str, BeforeValidator(plain), WithJsonSchema(ANY_VALUE)]] = Field(
        default_factory=dict)
    """Chosen axes → the values of the configuration that all others are compared with: {tensor_parallel_size: 1}. It is
    measured first."""
    quality: QualitySpec | None = None
    """What is evaluated once for each engine configuration, on the server that is up."""

    @field_validator("targets")
    @classmethod
    def _targets(cls, targets: list[str | TargetSpec]) -> list[str | TargetSpec]:
        names = [_name_of(target) for target in targets]
        for name in names:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise ValueError(f"'{name}' cannot name a metric; use vLLM's names, such as ttft_ms, and name its "
                                 "column by `map` (import: --map)")
            if names.count(name) > 1:
                raise ValueError(f"'{name}' stands twice; name each target once")
        return targets

    @property
    def hourly_price(self) -> float | None:
        """Money for an accelerator-hour; None where the file names no price."""
        return self.price.per_accelerator_hour if self.price else None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The targets with their properties, in order, and then those of `quality`."""
        evaluated = () if self.quality is None else self.quality.resolve(self.space.axes)
        return (*(metric_named(target) if isinstance(target, str) else target.resolve() for target in self.targets),
                *evaluated)

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        for i, text in enumerate(self.space.constraints):
            condition = parse(text, self.space.axes, f"space.constraints[{i}]")
            if not condition.names:
                raise StudyError(f"{condition.key}: '{text}' names no axis; name one or delete it")
            if not condition.is_condition:
                raise StudyError(f"{condition.key}: '{text}' is not a condition; compare something, as in 'a <= 8'")
        for name in map(_name_of, self.targets):
            if name in self.space.axes:
                raise StudyError(f"targets: '{name}' is an axis; name a metric")
        for i, text in enumerate(self.slo):
            parse_condition(text, f"slo[{i}]")
        if self.stop.cost_limit and self.stop.cost_limit.kind == "money" and self.price is None:
            raise StudyError("stop.cost: money needs a price; add `price: {per_accelerator_hour: ...}`")
        Workload.of_entries(self.workload)
        self._check_boundary()
        self._check_quality()
        if self.stop.difference is not None and (self.stop.accuracy or self.stop.boundary):
            raise StudyError("stop.difference: chooses its runs by itself; delete `accuracy` and `boundary`")
        if self.stop.decision is not None and (self.stop.accuracy or self.stop.boundary or self.stop.difference):
            raise StudyError("stop.decision: chooses its runs by itself; delete `accuracy`, `boundary`, `difference`")
        if self.stop.decision is None and self.stop.shortlist > 1:
            raise StudyError("stop.shortlist: belongs to a decision; add `decision: 0.95`, or delete it")
        return self

    def _check_quality(self) -> None:
        """Raises StudyError if a metric depends on what is no axis, or stands among the targets too."""
        where = {metric.name: "targets" for metric in self.metrics}
        for metric in self.quality.resolve(self.space.axes) if self.quality else ():
            if metric.name in map(_name_of, self.targets):
                raise StudyError(f"quality: '{metric.name}' stands in `targets` too; delete it there")
            where[metric.name] = "quality.depends_on"
        for metric in self.metrics:
            for name in metric.depends_on or ():
                axis, key = self.space.axes.get(name), where[metric.name]
                if axis is None:
                    raise StudyError(f"{key}: '{metric.name}' depends on '{name}', which is no axis"
                                     f"{suggestion(name, self.space.axes)}")
                if axis.scope is not Scope.ENGINE and key != "targets":
                    raise StudyError(f"{key}: '{name}' is an axis of the load, which no evaluation sees; delete it")

    def _check_boundary(self) -> None:
        """Raises StudyError if the boundary cannot be read, or names a metric that is no target."""
        boundary = self.stop.parsed_boundary
        if boundary is None and self.stop.difference is None and "confidence" in self.stop.model_fields_set:
            raise StudyError("stop.confidence: belongs to `boundary`, which is not there; add it, or delete this key")
        targets = [metric.name for metric in self.metrics]
        for metric in boundary.metrics if boundary else ():
            if metric not in targets:
                raise StudyError(f"stop.boundary: '{metric}' is no target; add it to `targets`, or name one of "
                                 f"{', '.join(targets)}")


def _name_of(target: str | TargetSpec) -> str:
    return target if isinstance(target, str) else target.metric


def read_spec(path: Path) -> tuple[StudySpec, str]:
    """The validated study file and its text. Raises StudyError, one line that names the key and the fix."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST_TEXT + 1)  # one more, so that a longer file is refused
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such study file; `sweepwise init {path}` writes one to start from") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as a text file; give a YAML study file") from error
    return parse_spec(text, str(path)), text


def parse_spec(text: str, source: str = "study file") -> StudySpec:
    """The validated content of a study file. Raises StudyError."""
    return validate_model(StudySpec, load_yaml(text, source), "")
