"""One study as a Python object: everything that the command line can do, with results instead of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.space.types import StudyError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import optuna
    import pandas as pd

    from planner.analysis.capacity import Capacity
    from planner.analysis.checkpoints import Checkpoint
    from planner.analysis.comparison.compare import Comparison, Side
    from planner.analysis.comparison.difference import Difference
    from planner.analysis.evaluation_report import EvaluationReport
    from planner.analysis.isolated_latency.answer import IsolatedLatencies
    from planner.analysis.next_points import NextPoints
    from planner.analysis.outlook import Outlook
    from planner.analysis.overview import Overview
    from planner.analysis.plan import Plan
    from planner.analysis.recommendation.decision import Decision
    from planner.analysis.recommendation.page import DecisionPage
    from planner.analysis.report import Report
    from planner.analysis.simulated import Simulation
    from planner.analysis.status import Status
    from planner.campaign.dashboard import Dashboard
    from planner.campaign.importing import ImportResult
    from planner.campaign.observers import Observer
    from planner.campaign.run import RunResult
    from planner.campaign.setup import StudySetup
    from planner.ledger.observations import Observations
    from planner.simulation.observer import SimulationObserver
    from planner.space.grid import Grid
    from planner.space.types import Metric, Point, Value
    from planner.strategies.strategy import Posterior

__all__ = ["Study", "open_study"]


def open_study(
    path: str | Path, *, storage: str | None = None, name: str | None = None, seed: int = 0,
    priors: Iterable[str | Path] = (),
) -> Study:
    """The study that a study file describes. Nothing is started or written.

    storage, name: override the study file's. seed: of everything random. priors: more old study files and tables. Where
    something is wrong, it raises StudyError, one line that names the key and the fix."""
    from planner.campaign.setup import open_setup

    return Study(open_setup(Path(path), storage, name, seed, priors=[str(prior) for prior in priors]), Path(path))


class Study:
    """A study file and its record. Build it with `open_study`.

    Contract: `run`, `audit`, `recommend(verify=True)`, `import_files`, `import_table` and `discard` write to the
    record; everything else only reads it, at each call, so that another process may run meanwhile. Results are frozen,
    and nothing is printed. Every method raises StudyError if a needed record is missing or an argument is wrong;
    methods that measure raise RunnerError if nothing can be measured here.
    """

    def __init__(self, setup: StudySetup, path: Path) -> None:
        self._setup = setup
        self.path = path
        self._learned: tuple[object, Posterior] | None = None

    @property
    def name(self) -> str:
        """The name of the record."""
        return self._setup.name

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the metrics to predict."""
        return self._setup.targets

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics to predict, as the study file describes them."""
        return self._setup.metrics

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of a recorded table and of priors, which are learned for it, one line each."""
        return (*self._setup.notes, *self._setup.prior_notes)

    @property
    def grid(self) -> Grid:
        """All points of the study."""
        return self._setup.grid

    def run(
        self, *, strategy: str = "sweepwise", observer: Observer | None = None, parallel: int | None = None,
        stop_requested: Callable[[], bool] = lambda: False, executor: str | None = None, address: str | None = None,
    ) -> RunResult:
        """The result of the campaign, after it has ended. The record is created, or resumed.

        strategy: any name of `simulate`; "full" measures the whole grid. observer: receives each run and checkpoint.
        stop_requested: called before each run; true ends the campaign as "interrupted". Others: as `sweepwise run`'s.
        """
        from planner.campaign.parallel import run

        return run(self._setup, self.path, (parallel, executor, address), strategy, observer, stop_requested)

    def audit(self, count: int, *, observer: Observer | None = None) -> EvaluationReport:
        """Scores of the predictions on `count` random points that no run covered, which are measured now.

        They are recorded separately, as "NAME (audit)". Raises StudyError if every point is measured.
        """
        from planner.analysis.evaluation_report import against_audit
        from planner.campaign.audit import measure

        observations, posterior = self.posterior()
        measured = measure(self._setup, observations, count, self._setup.seed, observer)
        return against_audit(measured, observations, posterior, self._setup.seed)

    def import_files(
        self, files: Iterable[str | Path], *, form: str = "auto", renames: Mapping[str, str] | None = None,
        given: Mapping[str, Value] | None = None, where: str | None = None, ok: str | None = None,
        ignore: Iterable[str] = (), skip_unknown: bool = False, dry_run: bool = False,
    ) -> ImportResult:
        """The runs that other tools' result files added to the record or, with `dry_run`, would add.

        form: "auto", or the name of a format. renames: axis or metric → column or expression. given: axis → value for
        the rows that do not say it. where: a condition that rows must meet. ok: a condition that successful rows meet.
        ignore: settings that may differ although they are no axis. skip_unknown: leave out rows that cannot be placed
        in the study, which raise StudyError otherwise.
        """
        from planner.campaign.importing import import_files
        from planner.importers.placing.runs import ImportOptions

        options = ImportOptions(dict(renames or {}), dict(given or {}), where, skip_unknown, ok, tuple(ignore))
        return import_files(self._setup, [Path(file) for file in files], options, form, dry_run)

    def import_table(self, table: str | Path, **options: Any) -> ImportResult:
        """The runs that a table added to the record. options: as for `import_files`, without `form`."""
        return self.import_files([table], form="table", **options)

    def discard(self, number: int, why: str = "taken back by hand") -> None:
        """Discard run `number`: it stays in the record but is not used. Raises StudyError if there is no such run."""
        self._setup.ledger().discard(number, why)

    def observations(self) -> Observations:
        """All runs that were not discarded, in order."""
        return self._setup.ledger().observations(self.grid)

    def discarded(self) -> Mapping[int, str]:
        """Run number → why it was taken back."""
        return self._setup.ledger().discarded

    def measurements(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """A row for each repeat of each measured point (planner.analysis.export). metrics: all by default."""
        from planner.analysis.export import measurement_table

        return measurement_table(self.observations(), metrics)

    def optuna_study(self) -> optuna.Study:
        """The Optuna study that is the record."""
        return self._setup.ledger().study

    def written_at_once(self) -> AbstractContextManager[optuna.Study]:
        """The Optuna study, for a block whose attributes of the study are stored in one transaction at its end."""
        from planner.ledger.optuna_private import written_at_once

        return written_at_once(self.optuna_study())

    def dashboard(self) -> Dashboard:
        """Optuna's dashboard of the record, as a WSGI application. Raises StudyError if it is not installed."""
        from planner.campaign.dashboard import dashboard_of

        return dashboard_of(self._setup)

    def plan(self, *, run_s: float = 5.0, start_s: float = 60.0) -> Plan:
        """The size of the grid and its expected cost, in full and adaptively. Needs no record.

        run_s, start_s: assumed seconds of a median run and of an engine start, if nothing is known yet.
        """
        from planner.analysis.plan import plan_of

        observations = self.observations() if self._setup.has_record() else None
        return plan_of(self._setup, observations, run_s, start_s)

    def status(self, of: RunResult | None = None) -> Status:
        """The status of the study: runs, cost, gains, estimated accuracy. of: the result of `run`, instead of the
        record."""
        from planner.analysis.status import status_of

        if of is not None:
            return status_of(self.name, of.observations, of.posterior, of.reason, of.underway)
        ledger = self._setup.ledger()
        observations = ledger.observations(self.grid)
        posterior = self._learn(observations) if observations.measured.any() else None
        return status_of(self.name, observations, posterior, ledger.stopped)

    def posterior(self, metrics: Iterable[str] = ()) -> tuple[Observations, Posterior]:
        """The observations, and the posterior of the targets and of `metrics` at every point.

        Raises StudyError if nothing was measured, or no run gave one of `metrics`.
        """
        from planner.campaign.run import nothing_measured
        from planner.space.expressions import suggestion

        observations = self.observations()
        if not observations.measured.any():
            raise StudyError(f"study '{self.name}': {nothing_measured(observations, self.path)}")
        for metric in (wanted := tuple(metrics)):
            if metric not in observations.metrics:
                raise StudyError(f"study '{self.name}': no run gave '{metric}'"
                                 f"{suggestion(metric, observations.metrics)}")
        targets = tuple(dict.fromkeys((*self.targets, *wanted)))
        if targets != observations.targets:
            observations = observations.with_targets(targets)
        return observations, self._learn(observations)

    def predict(
        self, points: Iterable[str | Point] | None = None, describe: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """A row for each grid point, or for each of `points`: measured or predicted, with 90 % intervals.

        points: mappings, or text 'axis=value,axis=value'. describe: {'gpu.tflops': 990}, of a value that is on no axis.
        """
        from planner.analysis.predict import predicted

        return predicted(self._setup, *self.posterior(), points, describe or {})

    def evaluate(
        self, truth: str | Path, *, any_fingerprint: bool = False, renames: Mapping[str, str] | None = None,
        ok: str | None = None, where: str | None = None,
    ) -> EvaluationReport:
        """Scores of the predictions on a measured grid, a table.

        any_fingerprint: accept a truth of another fingerprint, which raises StudyError otherwise. renames, ok, where:
        as for `import_files`.
        """
        from planner.analysis.evaluation_report import TruthTable, against_truth

        table = TruthTable(Path(truth), renames or {}, ok, where)
        return against_truth(self._setup, *self.posterior(), table, any_fingerprint)

    def recommend(
        self, *, maximize: str | None = None, minimize: str | None = None, slo: Sequence[str] | None = None,
        tiers: Sequence[str] = (), confidence: float = 0.9, per_accelerator: bool = False, verify: bool = False,
        observer: Observer | None = None, workload: Sequence[str] = (), share: float = 1.0, baseline: str | None = None,
    ) -> Decision:
        """The best configurations that meet every condition with the requested probability: for the workload or,
        without one, for each combination of given values.

        maximize or minimize: the objective; the study's first throughput by default. slo: conditions such as
        'p99_ttft_ms <= 500'. confidence: least probability of meeting all. tiers: as a study's boundary; their highest
        loads are found. per_accelerator: the objective for each accelerator. workload, baseline: as the options of
        `recommend`. share: of the workload's requests that must be served within every condition. Where slo, tiers,
        workload, baseline are not given, the study file's hold. verify: measure the winner and the runner-up for the
        study, and ask again; observer receives this.
        """
        from planner.analysis.recommendation.decision import decide, metrics_needed
        from planner.analysis.recommendation.question import question_of
        from planner.campaign.verify import verify as measured

        setup = self._setup
        question = question_of(setup, maximize, minimize, slo, confidence, per_accelerator, tiers, share, baseline)
        mix = setup.placed_workload(workload)

        def answer(posterior: Posterior, observations: Observations) -> Decision:
            return decide(question, posterior, observations, setup.accelerators, setup.spec.hourly_price, mix)

        observations, posterior = self.posterior(metrics_needed(question, self.observations().metrics))
        found = answer(posterior, observations)
        if not verify:
            return found
        found.check_verifiable()
        observations, took = measured(setup, observations, answer, observer)
        return replace(answer(self._learn(observations), observations), verified=took)

    def capacity(
        self, rates: Sequence[float], *, slo: Sequence[str] | None = None, confidence: float = 0.9,
        workload: Sequence[str] = (), share: float = 1.0,
    ) -> Capacity:
        """Configurations × replicas that serve rates[0] requests per second, the cheapest first; and other rates.

        slo: the study file's by default, else its boundary. Others: as for `recommend`."""
        from planner.analysis.capacity import capacity_of

        return capacity_of(self._setup, self.posterior, self.observations().metrics, rates, slo, confidence, workload,
                           share, self._setup.spec.hourly_price)

    def idealize(
        self, *, prompts: Sequence[tuple[int, int]] | None = None, blackbox: str | Path | None = None
    ) -> IsolatedLatencies:
        """The latency of a request on each engine configuration that serves it alone.

        prompts: tokens in and out of reference prompts; three of the grid's own sizes by default. blackbox: a CSV file
        of timings (prompt_tokens, output_tokens, seconds) to compare with.
        """
        from planner.analysis.isolated_latency.answer import isolated_latencies

        return isolated_latencies(self._setup, self.posterior, self.observations().metrics, prompts, blackbox,
                                  self._setup.spec.hourly_price)

    def compare(
        self, other: Study, *, targets: Sequence[str] | None = None, fail_if: Sequence[str] = (),
        confidence: float = 0.9,
    ) -> Comparison:
        """Where `other` (B) differs from this study (A) of the same grid by more than their intervals.

        targets: metrics to compare; the common targets by default. fail_if: conditions such as 'output_throughput drops
        5%', answered in `judgements`. confidence: of intervals and judgements.
        """
        from planner.analysis.comparison.compare import compare
        from planner.analysis.comparison.gate import parse_gate

        gates = [parse_gate(text) for text in fail_if]
        named = [gate.metric for gate in gates]
        a, b = (study._side([*(targets or ()), *named]) for study in (self, other))
        common = targets or [metric for metric in a.observations.targets if metric in b.observations.targets]
        metrics = list(dict.fromkeys([*common, *named]))
        if not metrics:
            raise StudyError("--target: the two studies have no target in common; name a metric that both measured")
        return compare(a, b, metrics, confidence, gates)

    def difference(
        self, *, prior: str | Path | None = None, amount: float | None = None, confidence: float | None = None,
        observer: Observer | None = None, stop_requested: Callable[[], bool] = lambda: False,
    ) -> Difference | None:
        """Where this study differs from an old one, after it was measured until that is known, or a limit is reached;
        None if no run succeeded.

        prior: a study file or a table, in place of the study file's `prior`. amount: by which share a point must differ
        to count. confidence: 1 − the expected share of wrong findings. The last two: as in the study file's `stop`.
        """
        from planner.analysis.comparison.difference import difference_of
        from planner.campaign.difference import asked, measure_difference

        setup = asked(self._setup, None if prior is None else Path(prior), amount, confidence)
        return difference_of(self.name, measure_difference(setup, observer, stop_requested))

    def report(
        self, *, truth: str | Path | None = None, any_fingerprint: bool = False, baselines: bool = True,
        curves: bool = True, arguments: Sequence[str] | None = None,
    ) -> Report:
        """The content of a report; planner.views.page makes a page or Markdown of it.

        truth: a measured grid to check against; a replayed study has its own. baselines: play other strategies too, if
        the grid is a recorded one. curves: compute the study's history. arguments: those of `sweepwise report`.
        """
        from planner.analysis.provenance import provenance_of
        from planner.analysis.report import ReportOptions, report_of

        observations, posterior = self.posterior()
        ledger = self._setup.ledger()
        trials = ledger.study.get_trials(deepcopy=False)
        provenance = provenance_of(
            self._setup, observations, ledger.fingerprint, trials[0].user_attrs.get("seed") if trials else None,
            self.path, [str(self.path)] if arguments is None else arguments)
        options = ReportOptions(None if truth is None else Path(truth), any_fingerprint, baselines, curves)
        return report_of(self._setup, observations, posterior, provenance, ledger.stopped, options)

    def decision_page(self, **question: Any) -> DecisionPage:
        """The content of a page about one decision. question: as for `recommend`."""
        from planner.analysis.recommendation.page import decision_page

        found = self.recommend(**question)
        return decision_page(self._setup, found, self.posterior(found.cases[0].known)[0])

    def simulate(
        self, strategies: Sequence[str] = ("sweepwise",), *, seeds: int = 3,
        at_cost: Sequence[float] = (0.01, 0.02, 0.05, 0.1), stop_accuracy: float = 0.95, jobs: int = 1,
        file: str | Path | None = None, observer: SimulationObserver | None = None, workers: Sequence[int] = (),
    ) -> Simulation:
        """Each strategy with each seed, played over the recorded grid and scored against its truth. Needs no record.

        at_cost: shares of the full cost at which to score. stop_accuracy: where the stopping rule would stop. jobs:
        simulations at a time. file: written after each; simulations in it are not repeated. workers: numbers of
        workers to play each with. Raises StudyError if the runner replays no recorded grid.
        """
        from planner.analysis.simulated import Simulation
        from planner.simulation.play import SimulationOptions, play
        from planner.simulation.replay import Replay

        options = SimulationOptions(tuple(dict.fromkeys(strategies)), seeds, tuple(at_cost), stop_accuracy, jobs,
                                    self._setup.seed, tuple(dict.fromkeys(workers)))
        replay = Replay(self._setup.recorded(), self.metrics, self._setup.boundary, self._setup.priors,
                        self._setup.weights, self._setup.choice)
        return Simulation(play(self.name, self._setup.text, replay, options, Path(file) if file else None, observer))

    def next_points(self, count: int = 10, *, names: Mapping[str, str] | None = None) -> NextPoints:
        """Up to `count` points to measure next, and the same as parameters of `vllm bench sweep serve`.

        names: axis → vLLM's option, for axes named differently. Needs no record. Raises StudyError if nothing is left
        to measure, or vLLM has no option for an axis.
        """
        from planner.analysis.next_points import next_points_of
        from planner.ledger.observations import Observations

        setup = self._setup
        observations = self.observations() if setup.has_record() else Observations(self.grid, self.metrics)
        return next_points_of(setup, observations, count, names or {})

    def outlook(self) -> Outlook:
        """An estimate, for an observer of `run`, of the remaining cost of the campaign."""
        from planner.analysis.outlook import Outlook

        return Outlook(self._setup.limits(), len(self.grid))

    def checkpoints(self, observations: Observations | None = None, count: int = 10) -> list[Checkpoint]:
        """Estimated accuracy after some of the runs, about `count` of them, recomputed from the record."""
        from planner.analysis.checkpoints import checkpoints

        return checkpoints(self._setup.posterior, observations or self.observations(), count=count)

    def overview(
        self, observations: Observations | None = None, posterior: Posterior | None = None,
        taken: Sequence[Checkpoint] | None = None,
    ) -> Overview:
        """Status, history, rates and surfaces for the dashboard. taken: checkpoints computed already."""
        from planner.analysis.overview import overview_of

        ledger = self._setup.ledger()
        now = observations or ledger.observations(self.grid)
        known = posterior or (self._learn(now) if now.measured.any() else None)
        return overview_of(self._setup, now, known, ledger.stopped, taken)

    def _learn(self, observations: Observations) -> Posterior:
        """The posterior of some runs, cached while they stay the same."""
        key = (observations.targets, tuple(run.number for run in observations.runs))
        if self._learned is None or self._learned[0] != key:
            self._learned = key, self._setup.posterior(observations)
        return self._learned[1]

    def _side(self, metrics: Sequence[str]) -> Side:
        from planner.analysis.comparison.compare import Side

        return Side(self.name, *self.posterior(metrics), self._setup.ledger().fingerprint)
