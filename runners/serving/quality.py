"""The quality of what a server serves, evaluated once for each engine configuration: built in, or by a command."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from planner.space.evaluation import EXACT_MATCH, PERPLEXITY, STDERR, Evaluation
from planner.space.types import Measurement, Proposal, Status
from runners.command_text import file_digest
from runners.serving.client import Target
from runners.serving.evaluation_command import EvaluationCommand
from runners.serving.log_probabilities import EvaluationError, LogProbabilities, read_documents, read_questions
from runners.serving.server import describe

__all__ = ["Evaluator"]


class Evaluator:
    """Evaluates what a study asks for. Raises StudyError for a file that cannot be read."""

    def __init__(self, evaluation: Evaluation, directory: Path) -> None:
        self._asked = evaluation
        self._files = {name: directory / file for name, file in (
            (PERPLEXITY, evaluation.perplexity), (EXACT_MATCH, evaluation.exact_match)) if file}
        self._documents = read_documents(self._files[PERPLEXITY], "quality.perplexity") if (
            PERPLEXITY in self._files) else []
        self._questions = read_questions(self._files[EXACT_MATCH], "quality.exact_match") if (
            EXACT_MATCH in self._files) else []
        self._command = EvaluationCommand(evaluation.command, evaluation.results, directory) if (
            evaluation.command) else None

    def facts(self) -> dict[str, str]:
        """For the fingerprint: results may be mixed only if all of it is equal."""
        command = self._command.facts() if self._command else {}
        files = {name: file_digest(path) for name, path in self._files.items()}
        return {"quality": json.dumps({**command, **files, "temperature": 0, "seed": 0}, sort_keys=True)}

    def added(self, measured: Measurement, proposal: Proposal, target: Target | None) -> Measurement:
        """The measurement, and with it the quality where the proposal asks for it and the run has come to an end. What
        cannot be evaluated leaves the run as it is, with the reason."""
        ended = measured.status in (Status.OK, Status.SATURATED) and measured.readings
        if not proposal.evaluate or target is None or not ended:
            return measured
        began = time.monotonic()
        metrics: Mapping[str, float] = {}
        try:
            metrics, facts = self._evaluated(target)
        except EvaluationError as error:
            facts = {"failed": " ".join(str(error).split())}
        cost = replace(measured.cost, evaluation_s=time.monotonic() - began)
        found = {name: (value,) for name, value in metrics.items()}
        readings = tuple(replace(reading, metrics={**reading.metrics, **found}) for reading in measured.readings)
        return replace(measured, cost=cost, readings=readings, quality=facts)

    def _evaluated(self, target: Target) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics and how they came about. Raises EvaluationError."""
        ends = time.monotonic() + self._asked.timeout_s
        server, metrics = LogProbabilities(target, ends), {}
        facts: dict[str, Any] = {"engine": describe(target.base_url).get("engine", "unknown"), "temperature": 0,
                                 "seed": 0}
        for name, path in self._files.items():
            facts[name] = {"file": path.name, "sha256": file_digest(path)}
        if self._documents:
            metrics[PERPLEXITY], metrics[PERPLEXITY + STDERR], tokens = server.perplexity(self._documents)
            facts[PERPLEXITY] |= {"documents": len(self._documents), "tokens": tokens}
        if self._questions:
            metrics[EXACT_MATCH], metrics[EXACT_MATCH + STDERR] = server.exact_match(self._questions)
            facts[EXACT_MATCH] |= {"questions": len(self._questions)}
        if self._command is not None:
            given, said = self._command.run(target, max(1.0, ends - time.monotonic()))
            metrics, facts["command"] = metrics | given, said
        return metrics, facts
