"""The choice of an importer: the one that the user names, or the first that recognises the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.aiperf import Aiperf
from planner.importers.evalscope import Evalscope
from planner.importers.fmwork import Fmwork
from planner.importers.genai_perf import GenaiPerf
from planner.importers.guidellm import Guidellm
from planner.importers.importer import Importer, Source
from planner.importers.inference_perf import InferencePerf
from planner.importers.inferencex import InferenceX
from planner.importers.llmperf import Llmperf
from planner.importers.optimum_benchmark import OptimumBenchmark
from planner.importers.rows import Row
from planner.importers.sglang import Sglang
from planner.importers.table import Table
from planner.importers.vllm_bench import VllmBench
from planner.importers.vllm_sweep import VllmSweep
from planner.space.expressions import suggestion
from planner.space.plugins import IMPORTERS, load_plugin, plugin_names, plugin_package
from planner.space.types import StudyError, Value

__all__ = ["OURS", "check_format", "format_of", "formats", "importer", "read_rows"]

OURS: Final[Mapping[str, Importer]] = {
    "vllm-sweep": VllmSweep(), "aiperf": Aiperf(), "genai-perf": GenaiPerf(), "guidellm": Guidellm(),
    "inference-perf": InferencePerf(), "inferencex": InferenceX(), "sglang": Sglang(), "vllm-bench": VllmBench(),
    "llmperf": Llmperf(), "evalscope": Evalscope(), "optimum-benchmark": OptimumBenchmark(),
    "fmwork": Fmwork(), "table": Table(),
}
"""Our importers by format, in the order in which they are asked. Those of other packages come before the last."""


def formats() -> list[str]:
    """Every format that --format takes, except auto, in the order in which they are asked. Nothing is loaded."""
    *ours, table = OURS
    return [*ours, *(name for name in plugin_names(IMPORTERS) if name not in OURS and name != "auto"), table]


def importer(form: str) -> Importer:
    """The importer of a format; ours if several have the name. Raises StudyError."""
    if form in OURS:
        return OURS[form]
    loaded = load_plugin(IMPORTERS, form, "--format") if form != "auto" else None
    if loaded is None:
        raise StudyError(f"--format: unknown format '{form}'{suggestion(form, ['auto', *formats()])}")
    try:
        made: Any = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise _broken(form, "cannot be made", error) from error
    if not isinstance(made, Importer):
        raise StudyError(f"--format: '{form}' of {plugin_package(IMPORTERS, form)} is not an importer: it lacks "
                         "`recognises` or `read`; update or uninstall that package")
    return made


def check_format(form: str) -> None:
    """Raises StudyError if there is no format of this name, or its package is broken."""
    if form != "auto":
        importer(form)


def read_rows(path: Path, form: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
    """The rows of a file or folder. known: values from --set; renames: names from --map. Raises StudyError."""
    name = str(path)
    if not path.exists():
        raise StudyError(f"{name}: there is no such file or folder; name a result file of the benchmark")
    form = format_of(path) if form == "auto" else form
    reader = importer(form)
    try:
        return reader.read(path, name, known, renames)
    except StudyError:
        raise
    except Exception as error:
        if form in OURS:
            raise
        raise StudyError(f"{name}: {_broken(form, 'cannot read it', error)}, or import it as a table") from error


def format_of(path: Path) -> str:
    """The format of a file or folder. Raises StudyError if no importer recognises it."""
    source = Source(path)
    broken: list[str] = []
    for form, candidate in _candidates(broken):
        try:
            if candidate.recognises(source):
                return form
        except Exception as error:
            if form in OURS:
                raise
            broken.append(str(_broken(form, "cannot recognise files", error)))
    reasons = "".join(f" ({why})" for why in broken)
    raise StudyError(f"{path}: the format is not recognised; name it with --format {' | '.join(formats())}{reasons}")


def _candidates(broken: list[str]) -> Iterator[tuple[str, Importer]]:
    """Each importer in order, loaded when it is asked. Reasons why others cannot be loaded are added to `broken`."""
    for form in formats():
        try:
            candidate = importer(form)
        except StudyError as error:
            broken.append(str(error))
            continue
        yield form, candidate


def _broken(form: str, what: str, error: Exception) -> StudyError:
    why = f"{type(error).__name__}: {error}"[:200]
    return StudyError(f"--format: '{form}' of {plugin_package(IMPORTERS, form)} {what} ({why}); update or uninstall "
                      "that package")
