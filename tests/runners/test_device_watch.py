"""What disturbs a run, with a driver that is made to say so."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from planner.space.types import Cost, Measurement, Proposal, Status
from runners import device_watch, nvml
from runners.device_watch import DeviceWatch, watched

POWER, HEAT, BRAKE = "NVML_FI_DEV_PERF_POLICY_POWER", "NVML_FI_DEV_PERF_POLICY_THERMAL", (
    "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN")
IDS = {POWER: 74, HEAT: 75, BRAKE: 271}


@dataclass
class Card:
    """slowed_s: seconds by the driver's counter. processes: on the device."""

    limit_w: float = 700
    clock: int = 1980
    slowed_s: dict[int, float] = field(default_factory=dict)
    processes: list[int] = field(default_factory=list)
    uuid: str = "GPU-aaaa"


def driver(cards: list[Card]) -> Any:
    module: Any = ModuleType("pynvml")
    for name, number in IDS.items():
        setattr(module, name, number)
    module.nvmlInit = lambda: None
    module.NVML_CLOCK_SM = 1
    module.nvmlDeviceGetCount = lambda: len(cards)
    module.nvmlDeviceGetHandleByIndex = cards.__getitem__
    module.nvmlDeviceGetUUID = lambda card: card.uuid
    module.nvmlDeviceGetEnforcedPowerLimit = lambda card: int(card.limit_w * 1000)
    module.nvmlDeviceGetPowerManagementDefaultLimit = lambda _: 700_000
    module.nvmlDeviceGetApplicationsClock = lambda card, _: card.clock
    module.nvmlDeviceGetDefaultApplicationsClock = lambda *_: 1980
    module.nvmlDeviceGetComputeRunningProcesses = lambda card: [SimpleNamespace(pid=pid) for pid in card.processes]
    module.nvmlDeviceGetFieldValues = lambda card, ids: [
        SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(ullVal=int(card.slowed_s.get(ids[0], 0) * 1e9)))]
    return module


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """The only device of a machine whose host takes nothing."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device_watch, "_stolen_s", lambda: 0.0)
    found = Card()
    monkeypatch.setitem(sys.modules, "pynvml", driver([found]))
    nvml.load_nvml.cache_clear()
    yield found
    nvml.load_nvml.cache_clear()


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is no descendant of this one: its parent has ended."""
    command = f"{sys.executable} -c 'import time; time.sleep(60)' >/dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["setsid", "sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    yield pid
    os.kill(pid, 9)


def test_a_quiet_device_gives_nothing(card: Card) -> None:
    card.slowed_s = {IDS[POWER]: 1000.0, IDS[HEAT]: 30.0}  # since the driver started, not during the run
    with DeviceWatch(1) as watch:
        assert watch.disturbances() == ()
    assert watch.disturbances() == ()


def test_heat_and_the_power_brake_are_said_with_their_share_of_the_run(card: Card) -> None:
    with DeviceWatch(1) as watch:
        time.sleep(0.1)
        card.slowed_s = {IDS[HEAT]: 10.0, IDS[BRAKE]: 10.0}
    assert watch.disturbances() == ("device 0: slowed by heat for 100% of the run",
                                    "device 0: slowed by the power brake of the machine for 100% of the run")


def test_the_usual_limit_of_power_is_no_disturbance_and_a_lowered_one_is(card: Card) -> None:
    with DeviceWatch(1) as watch:
        card.slowed_s = {IDS[POWER]: 10.0}
    assert watch.disturbances() == ()
    card.limit_w, card.slowed_s = 300, {}
    with DeviceWatch(1) as watch:
        card.slowed_s = {IDS[POWER]: 10.0}
    assert watch.disturbances() == ("device 0: its power is limited to 300 W of 700 W",
                                    "device 0: slowed by its limit of power for 100% of the run")


def test_a_changed_clock_is_said(card: Card) -> None:
    card.clock = 1200
    with DeviceWatch(1) as watch:
        pass
    assert watch.disturbances() == ("device 0: its clock is set to 1200 MHz in place of 1980 MHz",)


def test_only_processes_of_others_are_said(card: Card, stranger: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        card.processes = [os.getpid(), child.pid, 2**22 + 1]  # the last one is no process of this machine
        with DeviceWatch(1) as watch:
            pass
        assert watch.disturbances() == ()
        with DeviceWatch(1) as watch:
            card.processes.append(stranger)  # begins during the run
        assert len(watch.disturbances()) == 1
        assert f"process {stranger} (" in watch.disturbances()[0]
        with DeviceWatch(1) as watch:
            card.processes.remove(stranger)  # ends during the run
        assert len(watch.disturbances()) == 1
    finally:
        child.kill()
        child.wait()


@pytest.mark.usefixtures("card")
def test_a_driver_that_fails_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvmlDeviceGetFieldValues", "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetEnforcedPowerLimit",
                 "nvmlDeviceGetApplicationsClock"):
        monkeypatch.setattr(sys.modules["pynvml"], name, lambda *_: 1 / 0)
    with DeviceWatch(1) as watch:
        pass
    assert watch.disturbances() == ()


@pytest.mark.usefixtures("card")
def test_cores_that_the_host_takes_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([0.0, 1e9])
    monkeypatch.setattr(device_watch, "_stolen_s", lambda: next(taken))
    with DeviceWatch(0) as watch:
        pass
    assert len(watch.disturbances()) == 1 and "core time" in watch.disturbances()[0]


def test_a_runner_notes_it_in_the_measurement(card: Card) -> None:
    class Runner:
        def accelerators(self, point: Any) -> float:
            return 1.0

        @watched
        def measure(self, proposal: Proposal) -> Measurement:
            card.limit_w = 350
            return Measurement(Status.OK, Cost())

    measurement = Runner().measure(Proposal({}, ()))
    assert measurement.disturbances == ("device 0: its power is limited to 350 W of 700 W",)
    assert Measurement.from_json(measurement.to_json()) == measurement
