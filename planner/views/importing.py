"""The result of an import as lines of text."""

from __future__ import annotations

from rich.console import Console

from planner.campaign.importing import ImportResult

__all__ = ["show_import"]


def show_import(out: Console, study: str, found: ImportResult) -> None:
    """Print what an import added to the study of that name, and what it left out."""

    def say(text: str) -> None:
        out.print(text, soft_wrap=True)

    files = len(found.files)
    say(f"{files} {'file' if files == 1 else 'files'}, {found.rows:,} rows ({', '.join(found.formats)})")
    if found.known:
        say(f"{found.known:,} {'row is' if found.known == 1 else 'rows are'} in the study already, or twice in the "
            "files: left out")
    for reason, count in found.skipped.items():
        say(f"{count:,} {'row' if count == 1 else 'rows'} left out: {reason}")
    if not found.runs:
        say(f"{study}: nothing new, nothing added")
        return
    failed = f", {found.failed} of them failed" if found.failed else ""
    verb = "would be added" if found.dry_run else "added"
    say(f"{study}: {found.runs:,} runs {verb}{failed}, {found.points:,} points measured, "
        f"{found.cost_s:.1f} accelerator-seconds, which count towards stop.cost")
    for note in found.notes:
        unpriced = ("not in the" in note or "cost of a row" in note) and "counted as 0" not in note
        say(f"note: {note}{'; counted as 0' if unpriced else ''}")
