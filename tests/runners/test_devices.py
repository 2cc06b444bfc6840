"""Which devices a machine has, and how a process is told of its own."""

from __future__ import annotations

import os

import pytest

from planner.space.types import StudyError
from runners import devices
from runners.devices import Platform, found_platform, use

UUIDS = {"GPU-aa11": "0", "GPU-ab22": "1", "GPU-cc33": "2"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three GPUs and eight cores, and no variable that hides any."""
    for name in devices.READ_LATE:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(devices, "_nvidia", lambda: dict(UUIDS))
    monkeypatch.setattr(devices.environment, "cores", lambda: list(range(8)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)


def test_all_gpus_where_nothing_hides_them() -> None:
    found = found_platform(2, is_cpu_engine=False)
    assert (found.devices, found.variable, found.accelerators) == (("0", "1", "2"), "CUDA_VISIBLE_DEVICES", 3)


@pytest.mark.parametrize(("shown", "names"), [
    ("2,0", ("2", "0")), ("GPU-cc,GPU-aa11", ("2", "0")), ("GPU-a", ("GPU-a",)), (" 1 , 1", ("1",)),
    ("MIG-77/1/0", ("MIG-77/1/0",))])
def test_those_that_the_variable_shows(shown: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU has one name in all studies, by number or by UUID."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert found_platform(1, is_cpu_engine=False).devices == names
    assert "/" not in Platform(names, "CUDA_VISIBLE_DEVICES").lock_name(names[0])


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "ASCEND_RT_VISIBLE_DEVICES"])
def test_other_platforms_have_their_own_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "0,1")
    found = found_platform(2, is_cpu_engine=False)
    assert (found.devices, found.variable) == (("0", "1"), variable)
    use(found, ["1"])
    assert os.environ[variable] == os.environ["SWEEPWISE_DEVICES"] == "1" and "CUDA_DEVICE_ORDER" not in os.environ


def test_an_engine_on_the_cpu_gets_cores_whatever_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    found = found_platform(3, is_cpu_engine=True)
    assert (len(found.devices), found.variable, found.share, found.accelerators) == (8, "", 2, 4)
    bound: list[object] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: bound.extend(cores))
    use(found, ["4", "5"])
    assert bound == [4, 5] and os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2"


def test_more_workers_than_cores_are_refused() -> None:
    with pytest.raises(StudyError, match="9 workers need a core each and this machine gives 8; ask for at most 8"):
        found_platform(9, is_cpu_engine=True)


def test_locks_have_one_name_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs of a batch system may each call another GPU 0, and two shells call one GPU by number and by UUID."""
    names = []
    for shown in ("1", "GPU-ab"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        found = found_platform(1, is_cpu_engine=False)
        names.append(found.lock_name(found.devices[0]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "_nvidia", lambda: {"GPU-ab22": "0"})  # in a job that has this one alone
    names.append(found_platform(1, is_cpu_engine=False).lock_name("0"))
    assert names == ["cuda-GPU-ab22"] * 3
    assert Platform(("3",)).lock_name("3") == "core-3" and Platform(("3",), "HIP_VISIBLE_DEVICES").lock_name("3") == (
        "hip-3")
