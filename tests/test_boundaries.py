"""The import rules of the design, the size of files and functions, and what no file may do: all read off the source."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
# From top to bottom: a room imports those before it and itself, never those after it.
ROOMS: Final = (("space",), ("tables",), ("ledger",), ("importers",), ("models",), ("evaluation",), ("acquisition",),
                ("strategies",), ("campaign",), ("simulation",), ("analysis",), ("study",), ("views",), ("cli",),
                ("testing",))
LEVEL: Final = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
HEAVY: Final = ("torch", "vllm", "sklearn", "scipy", "pandas", "optuna")
# One idea each, which a split would tear apart; no others are longer than 300 lines.
LONGER: Final = {"planner.study": 440, "planner.space.types": 420, "planner.ledger.optuna_private": 365,
                 "planner.models.settings": 365}


@dataclass(frozen=True)
class Import:
    """One module that a file imports. for_types: under `if TYPE_CHECKING`."""

    importer: str
    module: str
    line: int
    for_types: bool


class Imports(ast.NodeVisitor):
    """Collects every import of a file, wherever it stands."""

    def __init__(self, importer: str, is_package: bool = False) -> None:
        self.importer, self.is_package = importer, is_package
        self.found: list[Import] = []
        self._for_types = False

    def visit_If(self, node: ast.If) -> None:
        before, checking = self._for_types, "TYPE_CHECKING" in ast.dump(node.test)
        self._for_types = before or checking
        for child in node.body:
            self.visit(child)
        self._for_types = before
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.importer.split(".")
            home = parts[: len(parts) - node.level + self.is_package]
            base = ".".join([*home, base] if base else home)
        self._add(base, node.lineno)
        for alias in node.names:  # a name may be a module: `from planner.space import grid`
            if (ROOT / f"{base}.{alias.name}".replace(".", "/")).with_suffix(".py").is_file() or (
                    base in {"planner", "runners"}):
                self._add(f"{base}.{alias.name}", node.lineno)

    def _add(self, module: str, line: int) -> None:
        self.found.append(Import(self.importer, module, line, self._for_types))


def imports_of(source: str, importer: str, is_package: bool = False) -> list[Import]:
    visitor = Imports(importer, is_package)
    visitor.visit(ast.parse(source))
    return visitor.found


def sources(*packages: str) -> Iterator[tuple[str, Path]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def all_imports(*packages: str) -> list[Import]:
    return [found for module, path in sources(*packages)
            for found in imports_of(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def room(module: str) -> str | None:
    """The room of a module of the planner; None for the package itself and for everything else."""
    parts = module.split(".")
    return parts[1] if parts[0] == "planner" and len(parts) > 1 else None


def downward(imports: list[Import]) -> list[Import]:
    """Imports of a room that lies below the importer's."""
    pairs = [(found, room(found.importer), room(found.module)) for found in imports]
    return [found for found, own, other in pairs if own and other and LEVEL[other] > LEVEL[own]]


def test_the_checks_see_what_they_look_for() -> None:
    """Each rule below is only as good as this reader of imports: a wrong one in every form is noticed."""
    text = """
import runners.replay as r
from planner import cli
from ..campaign import loop
from . import gp
from planner.cli import app
if TYPE_CHECKING:
    from planner.campaign.setup import Study
else:
    import vllm
def late():
    from planner.analysis import predict
    import vllm.engine
"""
    found = imports_of(text, "planner.models.grid_model")
    assert {f.module for f in found} >= {"runners.replay", "planner.cli", "planner.campaign.loop", "planner.models.gp",
                                         "planner.cli.app", "planner.campaign.setup", "vllm",
                                         "planner.analysis.predict", "vllm.engine"}
    assert {f.module for f in found if f.for_types} == {"planner.campaign.setup"}
    assert {room(f.module) for f in downward(found)} == {"cli", "campaign", "analysis"}
    assert imports_of("from . import gp", "planner.models", True)[-1].module == "planner.models.gp"


def test_every_file_of_the_planner_is_in_a_room() -> None:
    unknown = {module for module, _ in sources("planner") if module != "planner" and room(module) not in LEVEL}
    assert not unknown, f"no room of the design: {sorted(unknown)}"
    assert {room(module) for module, _ in sources("planner")} - {None} == set(LEVEL)


def test_every_room_says_what_it_is() -> None:
    for module, path in sources("planner", "runners", "studies"):
        if path.name == "__init__.py":
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert said and said.splitlines()[0].endswith("."), f"{module} does not say what it is"


def test_rooms_import_upwards_only() -> None:
    assert not downward(all_imports("planner"))


def test_modules_import_in_no_circle() -> None:
    """Not even by an import inside a function or for types only: a circle is a design that has no order."""
    modules = {module for module, _ in sources("planner", "runners")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in all_imports("planner", "runners"):
        if found.module in modules and found.module != found.importer:
            graph[found.importer].add(found.module)
    for module in modules:  # a package is the files that its __init__ imports, not their home
        graph[module].discard(module.rpartition(".")[0])
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(modules)


def test_the_planner_never_imports_runners() -> None:
    assert not [f for f in all_imports("planner") if within(f.module, "runners") or within(f.module, "studies")]
    for module, path in sources("planner"):
        calls = [name for name, _ in called_names(path.read_text(encoding="utf-8"))]
        assert not {"import_module", "__import__"} & set(calls), f"{module} imports what this test cannot see"


def test_runners_import_three_rooms_only() -> None:
    """The question, recorded tables, and other tools' files: nothing that decides or records."""
    rooms = {room(f.module) for f in all_imports("runners")} - {None}
    assert {"space", "tables"} <= rooms <= {"space", "tables", "importers"}


def imported_by(room_name: str) -> list[Import]:
    return [found for found in all_imports("planner") if room(found.importer) == room_name]


def test_analysis_is_pure() -> None:
    """It answers from values: nothing of it shows, stores or writes."""
    found = imported_by("analysis")
    shows = {"rich", "plotly", "typer", "jinja2", "sqlalchemy", "optuna", "optuna_dashboard"}
    assert not [f for f in found if f.module.partition(".")[0] in shows]
    ledger = {f.module for f in found if within(f.module, "planner.ledger")}
    assert ledger <= {"planner.ledger.observations", "planner.ledger.fingerprint"}
    for module, path in sources("planner/analysis"):
        assert not outputs(path.read_text(encoding="utf-8")), module


def outputs(source: str) -> set[str]:
    """What a file calls that prints or writes."""
    writes = {"print", "write", "write_text", "write_bytes", "write_html", "to_csv", "to_parquet", "mkdir", "unlink",
              "set_user_attr", "create_or_resume", "existing"}
    found = {name for name, _ in called_names(source) if name in writes}
    opened = [call for name, call in called_names(source) if name == "open"]
    return found | {"open" for call in opened if any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) and set(part.value) & set("wax+")
        and len(part.value) <= 3 for part in [*call.args, *(keyword.value for keyword in call.keywords)])}


def test_outputs_are_seen() -> None:
    assert outputs("path.open('w')") == outputs("open(path, mode='a')") == {"open"}
    assert outputs("print(1); path.write_text(t); frame.to_csv(p)") == {"print", "write_text", "to_csv"}
    assert not outputs("path.open(encoding='utf-8', newline=''); file.read()")


# Types of results and events, nothing that acts: observers receive a campaign's events, and an import has a result.
SHOWN: Final = {"planner.campaign.observers", "planner.campaign.importing", "planner.simulation.observer",
                "planner.strategies.strategy", "planner.ledger.observations", "planner.evaluation.estimate",
                "planner.evaluation.gains", "planner.evaluation.machine_drift", "planner.evaluation.prior_use"}


def test_views_take_answers_and_compute_nothing() -> None:
    modules = {f.module for f in imported_by("views") if within(f.module, "planner")}
    rooms = ("space", "analysis", "views")
    assert {m for m in modules if room(m) not in rooms} <= SHOWN
    computing = {"numpy.linalg", "scipy", "sklearn", "pandas"}
    runtime = [f for f in imported_by("views") if not f.for_types]
    assert not [f for f in runtime if any(within(f.module, package) for package in computing)]


def test_the_command_line_calls_the_api_and_shows() -> None:
    modules = {f.module for f in imported_by("cli") if within(f.module, "planner") and f.module != "planner"}
    allowed = {"planner.study", "planner.space.types", "planner.space.text", "planner.campaign.observers",
               "planner.space.address"}  # what is printed is shown without passwords
    beyond = {m for m in modules if room(m) not in {"views", "cli"}} - allowed
    assert beyond <= {"planner.ledger.observations"}  # the type of an observer's argument
    assert not [f for f in imported_by("cli") if f.module == "planner.ledger.observations" and not f.for_types]


def test_the_api_shows_nothing() -> None:
    path = ROOT / "planner/study.py"
    assert not outputs(path.read_text(encoding="utf-8")) - {"create_or_resume", "existing"}
    assert not [f for f in imported_by("study") if f.module.partition(".")[0] in {"rich", "plotly", "typer"}]


def test_only_the_workers_import_vllm() -> None:
    importers = {f.importer for f in all_imports("planner", "runners") if within(f.module, "vllm")}
    assert importers == {"runners.vllm_worker", "runners.serving.vllm_client_worker"}


def test_only_the_baselines_import_torch() -> None:
    for package in ("torch", "botorch", "gpytorch"):
        importers = {f.importer for f in all_imports("planner", "runners") if within(f.module, package)}
        assert importers == {"planner.strategies.botorch_gp"}


def test_importers_know_no_state_of_the_planner() -> None:
    """Runners may use them: they need the question and recorded tables only."""
    found = {room(f.module) for f in all_imports("planner") if room(f.importer) == "importers"} - {None}
    assert found == {"space", "tables", "importers"}


def test_nothing_of_the_project_imports_its_tests() -> None:
    assert not [f for f in all_imports("planner", "runners", "studies") if within(f.module, "tests")
                or within(f.module, "pytest") or within(f.module, "hypothesis")]


def test_the_words_need_numpy_and_the_standard_library_only() -> None:
    """`failure` and `evaluation` are among these words, in files of their own, and need the standard library alone."""
    found = {}
    for module in ("planner.space.types", "planner.space.failure", "planner.space.evaluation"):
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        found[module] = {f.module for f in imports_of(text, module) if f.module.partition(".")[0] not in
                         sys.stdlib_module_names}
    assert not found["planner.space.failure"] and not found["planner.space.evaluation"]
    assert {module for module in found["planner.space.types"] if module.partition(".")[0] != "numpy"} == {
        "planner.space.failure", "planner.space.evaluation"}


# ---------------------------------------------------------------------------------------------------------- start-up


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)


def test_the_command_line_loads_nothing_heavy() -> None:
    report = "import sys, planner.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(python("-c", report).stdout.split())
    assert {"planner", "typer"} <= loaded
    assert not loaded & {*HEAVY, "joblib", "sqlalchemy", "plotly", "runners"}


@pytest.mark.parametrize("code", ["import planner", "import planner; planner.open_study, planner.Study, "
                                  "planner.StudyError, planner.RunnerError", "from planner.study import Study"])
def test_the_api_loads_nothing_heavy(code: str) -> None:
    report = f"{code}; import sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = set(python("-c", report).stdout.split())
    assert "planner" in loaded
    assert not loaded & {*HEAVY, "joblib", "sqlalchemy", "plotly", "rich", "typer", "runners"}


def test_a_heavy_import_would_be_seen() -> None:
    report = "import sys, planner.cli, optuna; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    assert "optuna" in python("-c", report).stdout.split()


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="counts a child's processor time")
def test_help_is_there_in_half_a_second() -> None:
    """Processor time, the best of several tries: wall time on a busy machine says nothing about the program."""
    command = [sys.executable, "-c", "from planner.cli import main; main()", "--help"]
    seconds, shown = [], b""
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        shown = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        seconds.append(usage.ru_utime + usage.ru_stime)
        if seconds[-1] < 0.5:
            break
    assert b"simulate" in shown
    assert min(seconds) < 0.5, f"start-up took {min(seconds):.2f} s of processor time"


# -------------------------------------------------------------------------------------------------- sizes and safety


def test_files_are_short() -> None:
    long = {module: lines for module, path in sources("planner", "runners")
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGER.get(module, 300)}
    assert not long


def lengths(source: str) -> list[tuple[str, int]]:
    """Lines of each function, decorators left out."""
    functions = [node for node in ast.walk(ast.parse(source))
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]


def test_functions_are_short() -> None:
    assert lengths("def f():\n    x = 1\n    return x\n") == [("f", 3)]
    long = {f"{module}.{name}": lines for module, path in sources("planner", "runners")
            for name, lines in lengths(path.read_text(encoding="utf-8")) if lines > 50}
    assert not long


def called_names(source: str) -> list[tuple[str, ast.Call]]:
    """The last name of everything that is called: `os.system(…)` is system."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [(node.func.id if isinstance(node.func, ast.Name) else node.func.attr, node) for node in calls
            if isinstance(node.func, ast.Name | ast.Attribute)]


BUILTINS: Final = {"eval", "exec", "compile", "__import__"}
METHODS: Final = {"getoutput", "getstatusoutput", "read_pickle", "to_pickle"}
PICKLES: Final = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}


def dangers(source: str) -> set[str]:
    """What a file does that none may: run text as a program, unpickle, or hand a line to a shell."""
    found = {f.module.partition(".")[0] for f in imports_of(source, "x")} & PICKLES
    for name, call in called_names(source):
        bare = isinstance(call.func, ast.Name)
        if (bare and name in BUILTINS) or name in METHODS or ast.unparse(call.func) in {"os.system", "os.popen"}:
            found.add(name)
        for keyword in call.keywords:
            if keyword.arg in {"shell", "allow_pickle"} and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                found.add(keyword.arg)
        if name in {"load", "load_all"} and ast.unparse(call.func).startswith("yaml.") and "Loader" not in {
                keyword.arg for keyword in call.keywords}:
            found.add("yaml")
        if name in {"load", "dump"} and ast.unparse(call.func).startswith("joblib."):
            found.add("joblib")
    return found


@pytest.mark.parametrize(("source", "says"), [
    ("eval('1')", "eval"), ("exec(x)", "exec"), ("compile(a, b, 'exec')", "compile"),
    ("__import__('os')", "__import__"),
    ("import pickle", "pickle"), ("from cloudpickle import loads", "cloudpickle"), ("os.system('ls')", "system"),
    ("subprocess.run('ls', shell=True)", "shell"), ("run(c, shell=flag)", "shell"), ("yaml.load(text)", "yaml"),
    ("np.load(f, allow_pickle=True)", "allow_pickle"), ("pd.read_pickle(f)", "read_pickle"),
    ("joblib.load(f)", "joblib"),
])
def test_dangers_are_seen(source: str, says: str) -> None:
    assert dangers(source) == {says}


def test_no_file_runs_text_or_unpickles() -> None:
    assert not dangers("re.compile('a'); run(c, shell=False); yaml.load(t, Loader=L); json.load(f); self.eval(x)")
    found = {module: what for module, path in sources("planner", "runners")
             if (what := dangers(path.read_text(encoding="utf-8")))}
    assert not found


def test_every_loader_of_yaml_is_a_safe_one() -> None:
    for module, path in sources("planner", "runners"):
        text = path.read_text(encoding="utf-8")
        for unsafe in ("UnsafeLoader", "FullLoader", "yaml.Loader", "unsafe_load", "full_load"):
            assert unsafe not in text, f"{module} names {unsafe}"
