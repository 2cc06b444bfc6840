"""A question in one line, and its answers for each combination of given values."""

from __future__ import annotations

from typing import Final

from planner.analysis.recommendation.decision import Decision
from planner.space.question import Question
from planner.space.text import percent
from planner.views.cells import likelihood, number, thinned
from planner.views.listing import Listing

__all__ = ["MOST_METRICS", "cases_table", "question_text"]

MOST_METRICS: Final = 4
"""How many metrics an answer shows."""


def question_text(question: Question) -> str:
    """What is asked, in one line."""
    goal = f"{'most' if question.maximise else 'least'} {question.objective_text}"
    if not question.conditions:
        return goal
    where = "" if question.share >= 1 else f" for {percent(question.share)} of the requests"
    return f"{goal} with {' and '.join(map(str, question.conditions))}{where}"


def cases_table(decision: Decision, whole: bool) -> Listing:
    """The best configuration for each combination of given values."""
    cases = list(decision.cases) if whole else thinned(list(decision.cases))
    question = decision.question
    given = list(decision.given(cases[0]))
    chosen = [axis.name for axis in cases[0].grid.axes if len(axis.values) > 1]
    asked, best = " · ".join(given), f"best {' · '.join(chosen)}"
    gain = ["tuning gain"] if question.baseline else []
    metrics = list(dict.fromkeys((*question.metrics, *cases[0].known)))[:MOST_METRICS - len(gain)]
    every = len(decision.cases)
    more = f"; {len(cases)} of {every} rows, --all has them all" if len(cases) < every else ""
    table = Listing(f"Best configuration for each {' × '.join(given)}: {question_text(question)}",
                    [asked, best, *metrics, "meets", *gain], [asked, best],
                    f"– where none meets every condition with {percent(question.confidence)}; --workload gives one "
                    f"answer for a mix{more}; intervals are in --json")
    for case in cases:
        values = " · ".join(str(value) for value in decision.given(case).values())
        if not len(case.best):
            table.add_row(values, *("–" for _ in (best, *metrics, "meets", *gain)))
            continue
        row = int(case.best[0])
        point = case.grid.point(row)
        table.add_row(values, " · ".join(str(point[name]) for name in chosen),
                      *(number(float(case.known[metric].value[row])) for metric in metrics), likelihood(case, row),
                      *("–" if (found := case.gain(row)) is None else f"{found[0]:.2f}×" for _ in gain))
    return table
