"""Power and energy of a window, with a driver that is made to do what drivers do."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runners import nvml, power_devices
from runners.power import PowerMeter, integral, is_covered

WINDOW_S = 0.35
CLOSE = 0.15  # a busy machine may stop us between a clock and a counter


class DriverError(Exception):
    """The driver's own error."""


@dataclass
class Card:
    """A device that draws `watts`. counts: whether it has an energy counter; instant: whether it tells the draw of a
    moment; broken_after: seconds after which it answers no more; mig: whether it is cut into slices."""

    watts: float = 100.0
    uuid: str = "GPU-aaaa"
    counts: bool = True
    instant: bool = True
    mig: int = 0
    broken_after: float | None = None
    wraps: bool = False
    began: float = field(default_factory=time.perf_counter)
    asked: int = 0

    def check(self) -> float:
        age = time.perf_counter() - self.began
        if self.broken_after is not None and age > self.broken_after:
            raise DriverError("GPU is lost")
        return age


def driver(cards: list[Card]) -> Any:
    """A module `pynvml` for these devices."""
    module: Any = ModuleType("pynvml")

    def energy(card: Card) -> int:
        age = card.check()
        if not card.counts:
            raise DriverError("not supported")
        card.asked += 1
        if card.wraps and card.asked > 2:  # asked once whether it answers, once at the window's start
            return 5
        return int(1e6 + card.watts * age * 1e3)

    def fields(card: Card, ids: list[int]) -> list[Any]:
        assert ids == [module.NVML_FI_DEV_POWER_INSTANT]
        card.check()
        return [SimpleNamespace(nvmlReturn=0 if card.instant else 3,
                                value=SimpleNamespace(uiVal=int(card.watts * 1e3) if card.instant else 0))]

    def usage(card: Card) -> int:
        card.check()
        return int(card.watts * 1e3) + (7000 if card.instant else 0)  # wrong by 7 W where the other one is to be used

    def mig(card: Card) -> list[int]:
        return [card.mig, card.mig]

    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: len(cards)
    module.nvmlDeviceGetHandleByIndex = cards.__getitem__
    module.nvmlDeviceGetUUID = lambda card: card.uuid
    module.nvmlDeviceGetTotalEnergyConsumption = energy
    module.nvmlDeviceGetPowerUsage = usage
    module.nvmlDeviceGetFieldValues = fields
    module.nvmlDeviceGetMigMode = mig
    module.NVML_FI_DEV_POWER_INSTANT = 186
    return module


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any library, whatever this one has."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("pynvml", "zeus", "zeus.device"):
        monkeypatch.setitem(sys.modules, name, None)
    forget()
    yield
    forget()


def forget() -> None:
    nvml.load_nvml.cache_clear()
    power_devices._zeus.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, *cards: Card) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver(list(cards)))


def measured(accelerators: int = 1, seconds: float = WINDOW_S) -> Any:
    with PowerMeter(accelerators) as meter:
        assert meter.reading() is None
        time.sleep(seconds)
    return meter.reading()


def test_a_counter_gives_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(watts=250))
    began = time.perf_counter()
    reading = measured()
    assert reading.source == "nvml counter"
    assert WINDOW_S <= reading.seconds <= time.perf_counter() - began
    assert reading.mean_w == pytest.approx(250, rel=CLOSE)
    assert reading.energy_j == pytest.approx(reading.mean_w * reading.seconds)
    assert reading.mean_w <= reading.peak_w == pytest.approx(250, rel=CLOSE)


def test_without_a_counter_samples_give_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(watts=80, counts=False))
    reading = measured()
    assert (reading.source, reading.mean_w, reading.peak_w) == ("nvml samples", pytest.approx(80), pytest.approx(80))


def test_a_counter_that_starts_anew_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(watts=80, wraps=True))
    reading = measured()
    assert (reading.source, reading.mean_w) == ("nvml samples", pytest.approx(80))


def test_a_driver_that_tells_only_the_power_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(watts=60, counts=False, instant=False))
    assert measured().mean_w == pytest.approx(60)


def test_devices_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(watts=100), Card(watts=40, uuid="GPU-bbbb", counts=False), Card(watts=1000))
    reading = measured(accelerators=2)
    assert reading.source == "nvml counter and samples"
    assert reading.mean_w == pytest.approx(140, rel=CLOSE)
    assert reading.peak_w == pytest.approx(140, rel=CLOSE)


@pytest.mark.parametrize(("visible", "watts"), [
    ("1", 40), ("2,0", 900), ("GPU-bb", 40), (" 1 , 0", 40), ("1,-1,0", 40),
])
def test_the_first_visible_device_is_read(monkeypatch: pytest.MonkeyPatch, visible: str, watts: float) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine(monkeypatch, Card(100), Card(40, "GPU-bbbb"), Card(900, "GPU-cccc"))
    assert measured(seconds=0.15).peak_w == pytest.approx(watts, rel=CLOSE)


@pytest.mark.parametrize(("visible", "accelerators"), [
    ("", 1), ("-1", 1), ("7", 1), ("0", 2), ("GPU-", 1), ("MIG-1", 1), ("0,-1,1", 2), (None, 4), (None, 0),
])
def test_devices_that_are_not_there_have_no_reading(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, accelerators: int,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine(monkeypatch, Card(100), Card(40, "GPU-bbbb"), Card(900, "GPU-cccc"))
    assert measured(accelerators, seconds=0.01) is None


def test_a_slice_of_a_device_has_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(mig=1))
    assert measured(seconds=0.01) is None


def test_a_machine_without_library_has_no_reading() -> None:
    assert measured(seconds=0.01) is None


def test_a_driver_that_does_not_start_has_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = driver([Card()])
    monkeypatch.setattr(module, "nvmlInit", lambda: 1 / 0)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert measured(seconds=0.01) is None


def test_a_device_that_is_lost_has_no_reading_and_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card(broken_after=0.2))
    monkeypatch.setattr("runners.power._LONGEST_GAP_S", 0.3)
    assert measured(seconds=0.8) is None


def test_a_passing_error_leaves_the_energy_and_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter goes on, so the mean is known; what was drawn at most in the gap is not."""
    machine(monkeypatch, card := Card(watts=250))
    monkeypatch.setattr("runners.power._LONGEST_GAP_S", 0.3)
    with PowerMeter(1) as meter:
        time.sleep(0.1)
        card.broken_after = 0.0
        time.sleep(0.6)
        card.broken_after = None
    reading: Any = meter.reading()
    assert reading.mean_w == pytest.approx(250, rel=CLOSE) and reading.peak_w is None


def test_an_error_in_the_window_passes_through_and_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Card())
    meter = PowerMeter(1)
    with pytest.raises(KeyError, match="ours"), meter:
        time.sleep(0.05)
        raise KeyError("ours")
    assert not [thread for thread in threading.enumerate() if thread.name == "power"]
    assert meter.reading() is not None


def test_a_meter_forgets_the_window_before(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, card := Card())
    with PowerMeter(1) as meter:
        time.sleep(0.05)
    assert meter.reading() is not None
    card.broken_after = 0.0
    with meter:
        pass
    assert meter.reading() is None


def test_zeus_is_asked_where_nvml_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise DriverError("no counter")

    gpu = SimpleNamespace(get_instant_power_usage=lambda: 33_000, get_total_energy_consumption=refuse)
    module: Any = ModuleType("zeus")
    module.__spec__ = SimpleNamespace()
    module.device = ModuleType("zeus.device")
    module.device.get_gpus = lambda: SimpleNamespace(gpus=[gpu])
    monkeypatch.setitem(sys.modules, "zeus", module)
    monkeypatch.setitem(sys.modules, "zeus.device", module.device)
    reading = measured()
    assert (reading.source, reading.mean_w) == ("zeus samples", pytest.approx(33))
    assert measured(accelerators=2, seconds=0.01) is None


def test_a_ramp_is_integrated_exactly() -> None:
    """0 to 100 W in 4 s: 200 J; held level where no sample lies, before the first and after the last."""
    times = np.linspace(0, 4, 41)
    assert integral(times, 25 * times, 4.0) == pytest.approx(200)
    assert integral(np.array([1.0, 2.0]), np.array([10.0, 30.0]), 4.0) == pytest.approx(10 + 20 + 60)


@pytest.mark.parametrize(("times", "seconds", "covered"), [
    ([], 0.1, False), ([0.1], 0.2, True), ([0.1, 0.9], 1.5, True), ([0.1, 1.2], 1.3, False), ([0.1], 2.0, False),
])
def test_samples_must_leave_no_long_gap(times: list[float], seconds: float, covered: bool) -> None:
    assert is_covered(np.array(times), seconds) is covered
