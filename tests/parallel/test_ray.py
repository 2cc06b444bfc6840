"""`run --executor ray` on a local cluster of two nodes, one of which is killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.parallel.conftest import ROOT, Sleepers
from tests.parallel.test_parallel import done, overlapping
from tests.runners.processes import soon

ray_only = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
SECONDS = 1.0
PATIENCE_S = 300.0
"""A cluster, three drivers and their actors start on cores that other tests want too."""
GPUS = {"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}


class Nodes:
    """A cluster of two nodes with two GPUs each; one of them can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(initialize_head=False)
        self.first, self.second = (self._cluster.add_node(
            num_cpus=1, num_gpus=2, env_vars=gpus, include_dashboard=False, object_store_memory=100 * 2**20)
            for gpus in GPUS)
        self.address = str(self._cluster.address)

    def kill_second(self) -> None:
        """Without a word to the others."""
        self._cluster.remove_node(self.second, allow_graceful=False)

    def end(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{ROOT}")
    monkeypatch.setenv("SWEEPWISE_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    made = Nodes()
    yield made
    made.end()


def _reasons(trials: Sequence[FrozenTrial]) -> Counter[str]:
    """Of trials that are not complete, the beginnings of why."""
    return Counter(str(trial.user_attrs.get("reason", ""))[:14] for trial in trials
                   if trial.state is not TrialState.COMPLETE)


@ray_only
def test_a_node_dies_the_driver_dies_and_the_study_goes_on(sleepers: Callable[..., Sleepers], nodes: Nodes) -> None:
    study = sleepers(SECONDS, batches=range(1, 6))
    arguments = ("--executor", "ray", "--address", nodes.address, "--parallel", 3, "--strategy", "full")
    running = study.start(*arguments)
    assert soon(lambda: any(step.ended for step in study.steps()), PATIENCE_S), "the first run is alone by design"
    study.hold()
    on = lambda node: [s for s in study.steps() if s.devices <= node and s.ended is None]  # noqa: E731
    if not soon(lambda: on({"0", "1"}) and on({"2", "3"}), PATIENCE_S):
        running.kill()
        pytest.fail(f"no run on each of two nodes: {study.steps()}\n{running.communicate()}")
    victims = on({"2", "3"})
    nodes.kill_second()
    study.release()
    assert soon(lambda: not any(Path(f"/proc/{step.pid}").exists() for step in victims), 15), "its engine lives on"
    assert soon(lambda: _reasons(study.trials())["lost with its "] >= len(victims), PATIENCE_S), "that is recorded"
    count = len(study.steps())
    assert soon(lambda: len(study.steps()) >= count + 2, PATIENCE_S), "the workers go on with the other node"
    running.kill()
    out, _ = running.communicate()
    assert "has stopped" not in out, out
    assert soon(lambda: not any(Path(f"/proc/{step.pid}").exists() for step in study.steps()), 30)
    code, out, err = study.run(*arguments, timeout_s=2 * PATIENCE_S)
    assert code == 0 and "has stopped" not in out, out + err
    trials, steps = study.trials(), study.steps()
    assert len(done(trials)) == 10 and all(trial.state.is_finished() for trial in trials)
    reasons = _reasons(trials)
    # Its two GPUs hold two runs at most, and one may have begun after the victims were counted.
    assert len(victims) <= reasons["lost with its "] <= 2 and not any(
        trial.user_attrs["measurement"]["status"] == "failed" for trial in trials)
    assert not overlapping(steps) and all(len(step.devices) == step.size and step.devices == step.shown
                                          for step in steps)
    assert any(step.size == 2 for step in steps), "none has starved"
    print(f"{len(steps)} executions, {len(victims)} on the node that was killed; {dict(reasons)}; {out[-300:]}")


@ray_only
def test_ctrl_c_twice_drops_the_run_in_hand(sleepers: Callable[..., Sleepers], nodes: Nodes) -> None:
    """By one worker, in the process itself."""
    study = sleepers(90 * SECONDS, sizes=(1,))
    running = study.start("--executor", "ray", "--address", nodes.address)
    assert soon(study.steps, PATIENCE_S)
    running.send_signal(signal.SIGINT)
    assert soon(lambda: "stopping" in os.read(running.stderr.fileno(), 200).decode(), 10)  # type: ignore[union-attr]
    running.send_signal(signal.SIGINT)
    asked = time.monotonic()
    running.communicate(timeout=60)
    assert running.returncode == 130
    (trial,) = study.trials()
    assert trial.user_attrs["measurement"]["status"] == "interrupted"
    (step,) = study.steps()
    assert soon(lambda: not Path(f"/proc/{step.pid}").exists(), 60), Path(f"/proc/{step.pid}/status").read_text()
    print(f"the command has ended {time.monotonic() - asked:.1f} s later")


@ray_only
@pytest.mark.parametrize(("sizes", "says"), [
    ((1, 4), "--executor ray: a point needs 4 GPUs and no node has more than 2; add a node, or leave such points out "
             "by space.constraints")])
def test_what_fits_on_no_node_is_refused(
    sleepers: Callable[..., Sleepers], nodes: Nodes, sizes: tuple[int, ...], says: str
) -> None:
    code, _, err = sleepers(sizes=sizes).run("--executor", "ray", "--address", nodes.address)
    assert (code, err.strip()) == (2, f"sweepwise: {says}")


def test_without_ray_one_line_names_the_command_that_installs_it(sleepers: Callable[..., Sleepers], tmp_path: Path
                                                                 ) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('not here')\n")
    study = sleepers()
    hidden = {**study.environment, "PYTHONPATH": f"{tmp_path}:{study.environment.get('PYTHONPATH', '')}"}
    code, _, err = Sleepers(study.study, study.storage, hidden).run("--executor", "ray")
    assert (code, err.strip()) == (2, "sweepwise: --executor: Ray is not installed; run `pip install 'sweepwise[ray]'`")


@pytest.mark.parametrize(("arguments", "says"), [
    (("--executor", "rays"), "--executor: unknown executor 'rays'; did you mean 'ray'?"),
    (("--address", "auto"), "--address: is that of a cluster; add --executor ray")])
def test_what_cannot_be_meant_is_refused(sleepers: Callable[..., Sleepers], arguments: tuple[str, ...], says: str
                                         ) -> None:
    code, _, err = sleepers().run(*arguments)
    assert (code, err.strip()) == (2, f"sweepwise: {says}")
