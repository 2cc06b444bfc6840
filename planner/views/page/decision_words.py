"""Text of the page that shows a decision, the same for a page, Markdown and a picture."""

from __future__ import annotations

from dataclasses import dataclass

from planner.analysis.recommendation.page import DecisionPage
from planner.analysis.recommendation.recommend import Recommendation
from planner.space.text import duration, percent, point_text
from planner.views.cases import MOST_METRICS, cases_table, question_text
from planner.views.cells import described, interval, likelihood, number
from planner.views.decision import baseline_missing, nothing_text, workload_text
from planner.views.page.words import Table
from planner.views.separation import gain_text, separation_text

__all__ = ["Paragraph", "compared", "headline", "notes", "paragraphs"]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A label and what is said under it."""

    label: str
    text: str


def headline(page: DecisionPage) -> str:
    """The answer in one sentence, with the tuning gain where there is a baseline."""
    answer = page.answer
    if answer is None and page.decision.only is None:
        return f"{len(page.decision.cases):,} kinds of requests, each with its own best configuration"
    if answer is None or answer.winner is None:
        why = nothing_text(page.decision.cases[0])
        return why[:1].upper() + why[1:]
    row, question = answer.winner, answer.question
    name = _name(answer, row)
    if not len(answer.best):
        why = f": {answer.obstacle} stands in the way" if answer.obstacle else ""
        return f"No configuration meets every condition with {percent(question.confidence)}{why}"
    base, gain = answer.candidates.baseline, answer.gain(row)
    if base == row:
        return f"Keep the baseline, {name}: nothing is better"
    if gain is not None:
        missed = "" if base is None or answer.probability[base] >= question.confidence else (
            ", which does not surely meet the conditions")
        return f"Run {name}: tuning gain {gain_text(gain)} over the baseline{missed}"
    return f"Run {name}: {interval(answer, question.objective, row)} {question.objective}"


def paragraphs(page: DecisionPage) -> list[Paragraph]:
    """The question, how sure the answer is, what separates the runner-up, and what it costs to be surer."""
    found = [Paragraph("The question", _question(page))]
    answer = page.answer
    if answer is None:
        if page.decision.only is None:
            found.append(Paragraph("The answer", "The table has the best configuration for each kind of request. They "
                                   "are not ranked among each other: nobody chooses what traffic asks for. A workload "
                                   "gives one answer."))
        return found
    found.append(Paragraph("How sure", how_sure(page, answer)))
    for name, label in (("runner-up", "The runner-up"), ("baseline", "The baseline")):
        parts = page.separation(name)
        if parts is not None:
            changed = point_text(parts.settings, ", ") or "the same settings"
            found.append(Paragraph(label, f"{changed}: {separation_text(parts, answer.question.objective)}."))
    if missing := baseline_missing(answer):
        found.append(Paragraph("The baseline", f"Nothing is compared with the {missing}."))
    return [*found, Paragraph("To be surer", _surer(page, answer))]


def how_sure(page: DecisionPage, answer: Recommendation) -> str:
    """How sure the answer is: the probability of meeting every condition, and whether it was measured."""
    row = next(iter(page.marked.values()))
    what = "meets every condition" if answer.question.conditions else "runs"
    name = "It" if len(answer.best) else f"The most probable one, {_name(answer, row)},"
    text = f"{name} {what} with a probability of {likelihood(answer, row)}"
    if (sure := page.decision.sure_of(answer)) is not None and not sure.none:
        text += f", and is within 2 % of the best with {percent(sure.probability)}"
    if answer.measured[row]:
        return f"{text}. It was measured."
    return f"{text}. It is predicted, not measured, so rather optimistic."


def _question(page: DecisionPage) -> str:
    decision, price = page.decision, page.study.spec.price
    parts = [f"The {question_text(decision.question)}", f"for {workload_text(decision)}" if decision.workload else "",
             f"at ${price.per_accelerator_hour:,.2f} an accelerator-hour" if price else ""]
    if decision.question.conditions:
        parts.append(f"conditions to be met with {percent(decision.question.confidence)}")
    return f"{', '.join(part for part in parts if part)}."


def _surer(page: DecisionPage, answer: Recommendation) -> str:
    cost = page.surer
    if cost is None:
        return ("Nothing to measure: it was measured." if answer.measured[answer.winner] else
                "Measuring it is not worth a run: it is more likely to miss a condition than not.")
    seconds = f"about {duration(cost.cost_s)} of accelerator time" if cost.cost_s > 0 else "an unknown time"
    money = "" if cost.money is None else f" (${cost.money:,.2f})" if cost.money >= 0.01 else " (less than $0.01)"
    return f"recommend --verify measures it and its closest competitor: {cost.runs} runs, {seconds}{money}."


def compared(page: DecisionPage) -> Table:
    """The marked configurations side by side; without one answer, the best for each combination of given values."""
    answer = page.answer
    if answer is None:
        if page.decision.only is not None:
            return Table((), [])
        listing = cases_table(page.decision, whole=False)
        return Table(listing.columns, listing.rows)
    metrics = list(dict.fromkeys((*answer.question.metrics, *answer.known)))[:MOST_METRICS]
    priced = [row for row in page.marked.values() if answer.cost_per_million(row) is not None]
    meets = "meets all" if answer.question.conditions else "runs"
    head = ("", "configuration", *metrics, *(["$/million tokens"] if priced else []), meets, "known")
    rows = []
    for name, row in page.marked.items():
        cost = answer.cost_per_million(row)
        money = "–" if cost is None else f"{number(cost[0])} ({number(cost[1])} … {number(cost[2])})"
        rows.append((name, _name(answer, row), *(interval(answer, metric, row) for metric in metrics),
                     *([money] if priced else []), likelihood(answer, row),
                     "measured" if answer.measured[row] else "predicted"))
    return Table(head, rows)


def notes(page: DecisionPage) -> list[str]:
    """How to read the table and the figure, and what the numbers rest on."""
    seen, found = page.observations, page.tradeoff
    if page.answer is None:
        said = [] if page.decision.only is not None else [cases_table(page.decision, whole=False).caption]
    else:
        said = ["in brackets and as bars: 90 % intervals"]
    if found is not None and found.quality is not None:
        names = (found.quality.figure.name, found.interactivity.name, found.cost.name)
        said.append(f"large marks: no other is at least as good in {', '.join(names)} together")
    said += page.decision.workload.notes if page.decision.workload else ()
    return [*said, f"{page.study.name}: {int(seen.measured.sum()):,} of {len(seen.grid):,} grid points measured in "
            f"{duration(seen.spent)} of accelerator time, the others predicted"]


def _name(answer: Recommendation, row: int) -> str:
    return described(answer.grid, row, answer.grid.axes).replace("  ", ", ") or "the one configuration"
