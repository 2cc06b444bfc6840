"""The terms of the field, in plain modern English: words that were given up stay out of the source and the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = ("README.md", "studies/README.md", "studies/compare/README.md", "studies/published/README.md")
SUFFIXES: Final = {".py", ".html", ".js", ".css", ".j2", ".md"}

# Word → what to write in its place. Each is searched in lower case, in text and within identifiers.
GIVEN_UP: Final = {
    r"belie(f|fs|ve|ves|ved|ving)": "posterior, or the assumption that is made",
    r"fore(see|sees|seen|saw|sight|tell|tells|told|telling)": "one-step-ahead forecast, predicted",
    r"(un)?luck(y|ily)?": "run effect, or by chance",
    r"rivals?": "baseline; in a recommendation, runner-up",
    r"dear(er|est|ly)?": "expensive",
    r"thrift(y)?": "cost exponent",
    r"verdicts?": "evaluation report",
    r"bargains?": "savings",
    r"likeness(es)?": "category embedding",
    r"committees?": "ensemble",
    r"(?<!little's )(?<!littles )laws?|lawful|lawless": "latency model, or total variance and the like",
    r"trust(s|ed|ing|worthy)?": "ensemble weights, or use",
    r"for ?ever": "without limit, always",
    r"(a|an|the|each|every|any|one|two|first|next|last|later|earlier|n-th|per|at) looks?": "checkpoint",
    r"mend(s|ed|ing)?": "fix, correct",
    r"whoever|whosoever": "the process, user or caller that is meant",
}
PATTERN: Final = re.compile("|".join(rf"(?P<w{i}>\b(?:{word})\b)" for i, word in enumerate(GIVEN_UP)))


@dataclass(frozen=True)
class Allowed:
    """A place where a word stays: its file, the text around it as written there, and why."""

    file: str
    text: str
    reason: str


ALLOWED: Final = (
    Allowed("planner/cli/report.py", '"--no-rivals"', "an option in users' scripts, kept as a hidden alias"),
    Allowed("planner/cli/report.py", "no_rivals", "the parameter of that alias"),
    Allowed("planner/views/page/html.py", '"bargain"', "a key of the page's data, and of its figures' file names"),
    Allowed("planner/views/page/templates/report.html", 'id="bargain"', "the element that shows that key"),
    Allowed("planner/cli/dashboard.py", "serve_forever", "the standard library's name"),
    Allowed("runners/vllm_worker.py", "trust_remote_code", "vLLM's name of the argument"),
)


def plain(text: str) -> str:
    """The text in lower case with the words of identifiers apart, position by position: `theLaw`, `no_law` → law."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return text.replace("_", " ").lower()


def found(line: str) -> list[str]:
    """The words in a line that were given up."""
    return [match.group() for match in PATTERN.finditer(plain(line))]


def sources() -> Iterator[Path]:
    for folder in ("planner", "runners"):
        yield from (file for file in sorted((ROOT / folder).rglob("*")) if file.suffix in SUFFIXES)
    yield from sorted((ROOT / "studies").rglob("*.py"))
    yield from (ROOT / page for page in PAGES)


def without_allowed(line: str, file: str) -> str:
    for allowed in ALLOWED:
        if allowed.file == file:
            line = line.replace(allowed.text, "·")
    return line


def test_words_that_were_given_up_are_gone() -> None:
    faults = []
    for path in sources():
        file = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for word in found(without_allowed(line, file)):
                faults.append(f"{file}:{number}: {word!r}: {line.strip()}")
    assert not faults, "\n".join(faults)


def test_the_sources_are_read() -> None:
    read = {path.relative_to(ROOT).as_posix() for path in sources()}
    assert {"planner/space/types.py", "planner/views/page/templates/script.html", "runners/process_group.py",
            "studies/compare/compare.py", *PAGES} <= read
    assert len(read) > 150


@pytest.mark.parametrize("allowed", ALLOWED, ids=lambda allowed: f"{allowed.file} {allowed.text}")
def test_every_exception_is_needed(allowed: Allowed) -> None:
    assert allowed.text in (ROOT / allowed.file).read_text(encoding="utf-8") and found(allowed.text)


@pytest.mark.parametrize(("line", "words"), [
    ("The model believes it, which is luck.", ["believes", "luck"]),
    ("def foretold(no_law: Law, theTrust: float) -> None:", ["foretold", "law", "law", "trust"]),
    ("class Committee: LIKENESS = 'Rival'", ["committee", "likeness", "rival"]),
    ("It holds for ever; the dearest points wait. Forever.", ["for ever", "dearest", "forever"]),
    ("At each look the verdict is read; thrift is a bargain.", ["each look", "verdict", "thrift", "bargain"]),
    ("One line that names the key and the mend, for whoever reads it; nobody had foreseen it.",
     ["mend", "whoever", "foreseen"]),
    ("last_look = first look", ["last look", "first look"]),
    # Other words that hold the same letters, or the verb.
    ("Recommended: look at the plain sweep, as lawn and rivalry, beliefless, amendment, it looks right.", []),
    ("Little's law, littles_law, LITTLES_LAW.", []),
    ("The noise allows 95 %; clawed, dearth, pluck, blucky, untrusty.", []),
])
def test_the_words_are_seen(line: str, words: list[str]) -> None:
    assert found(line) == words


@pytest.mark.parametrize("word", GIVEN_UP)
def test_every_word_has_one_to_take_its_place(word: str) -> None:
    assert GIVEN_UP[word] and not found(GIVEN_UP[word])
