"""Which studies are harmed in which way, in a fixed order; as a program, many of them and the table of what came of it.

    python -m tests.crash.draws RESULTS.jsonl --first 0 --count 200    # adds to the file, prints the table of all in it
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any, Final

from runners.fork_server import ForkServer
from tests.crash.faults import FAULTS
from tests.crash.studies import KINDS, make_starter
from tests.crash.trial import harm

PAIRS: Final = [(kind, fault) for kind in KINDS for fault in FAULTS if FAULTS[fault].possible(kind)]


def draws(first: int, number: int) -> list[tuple[str, str, int]]:
    """Kind of study, fault and seed: every pair once, then every pair again with another seed."""
    return list(islice(_all(), first, first + number))


def _all() -> Iterator[tuple[str, str, int]]:
    for seed in count():
        pairs = list(PAIRS)
        Random(seed).shuffle(pairs)
        yield from ((kind, fault, seed) for kind, fault in pairs)


def result(draw: tuple[str, str, int], starter: ForkServer) -> dict[str, Any]:
    """What came of one draw: survived, or what was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="crash"))
    try:
        found = {"survived": True, **asdict(harm(*draw, folder, starter))}
    except Exception as error:
        return {"draw": draw, "survived": False, "error": f"{type(error).__name__}: {error}", "folder": str(folder)}
    shutil.rmtree(folder, ignore_errors=True)
    return {"draw": draw, **found}


def table(results: list[dict[str, Any]]) -> str:
    """As Markdown: a row for each fault, studies of each kind that had it, and in how many the run in hand was cut."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in results:
        rows[one["draw"][1]].append(one)
    lines = ["| fault | " + " | ".join(KINDS) + " | survived | run in hand cut short |",
             "| --- |" + " --- |" * (len(KINDS) + 2)]
    for fault in [fault for fault in FAULTS if fault in rows]:
        mine = [one for one in rows[fault] if not one["survived"] or one["in_time"]]
        cells = [sum(one["draw"][0] == kind for one in mine) for kind in KINDS]
        survived = sum(one["survived"] for one in mine)
        cuts = [one["cut"] for one in mine if "cut" in one]
        lines.append(f"| {fault} | " + " | ".join(map(str, cells)) + f" | {survived} of {len(mine)} | "
                     f"{sum(cuts)} of {len(cuts)} |")
    return "\n".join(lines)


def main() -> None:
    """Harm, note, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=3, help="studies at a time; they sleep most of the time")
    given = parser.parse_args()
    starter = make_starter()
    with ThreadPoolExecutor(given.jobs) as pool, given.results.open("a") as file:
        for found in pool.map(lambda draw: result(draw, starter), draws(given.first, given.count)):
            file.write(json.dumps(found) + "\n")
            file.flush()
            if not found["survived"]:
                print(*found["draw"], found["error"][:2000], found["folder"], flush=True)
    starter.close()
    print(table([json.loads(line) for line in given.results.read_text().splitlines()]))


if __name__ == "__main__":
    main()
