"""Energy: which counters are read, and how they turn over."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from potstill.energy import EnergyMeter


def zone(root: Path, name: str, label: str, energy: int) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "name").write_text(label + "\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text("1000000\n")
    return path


def test_energy_sums_packages_only_and_survives_wrapping(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    for name, label in (("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys")):
        (zone(tmp_path, name, label, 5) / "energy_uj").write_text("777")
    meter = EnergyMeter(tmp_path)
    (first / "energy_uj").write_text("100000")
    (second / "energy_uj").write_text("300000")
    assert meter.joules() == pytest.approx(0.2 + 0.3)
    (first / "energy_uj").write_text("50000")
    assert meter.joules() == pytest.approx(0.5 + 0.95)


def test_energy_is_none_without_counters(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "absent").joules() is None
    broken = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (broken / "energy_uj").write_text("not a number")
    assert EnergyMeter(tmp_path).joules() is None


@pytest.fixture
def zeus(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for Zeus: GPU 1 has used so many millijoules."""

    class ZeusBaseError(Exception):
        pass

    state = SimpleNamespace(millijoules=5_000, error=None, asked=[])

    def get_total_energy_consumption(gpu: int) -> int:
        state.asked.append(gpu)
        if state.error is not None:
            raise state.error
        return state.millijoules

    gpus = SimpleNamespace(get_total_energy_consumption=get_total_energy_consumption)
    for name, content in {
        "zeus": {"__spec__": object(), "__path__": []},
        "zeus.exception": {"ZeusBaseError": ZeusBaseError},
        "zeus.device": {"get_gpus": lambda: gpus},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    state.Fault = ZeusBaseError
    return state


def test_a_gpus_energy_is_added_where_zeus_reads_it(tmp_path: Path, zeus: Any) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(tmp_path, gpu=1)
    (package / "energy_uj").write_text("250000")
    zeus.millijoules = 7_500
    assert meter.joules() == pytest.approx(0.25 + 2.5)
    assert set(zeus.asked) == {1}
    assert EnergyMeter(tmp_path).joules() == 0.0  # nothing computes on a GPU


def test_a_part_that_is_not_known_is_not_0(tmp_path: Path, zeus: Any) -> None:
    assert EnergyMeter(tmp_path / "absent", gpu=1).joules() is None
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(tmp_path, gpu=1)
    zeus.error = zeus.Fault("no permission")
    assert meter.joules() is None
    assert EnergyMeter(tmp_path, gpu=1).joules() is None


def test_without_zeus_a_gpu_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potstill.energy.counts_gpus", lambda: False)
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    assert EnergyMeter(tmp_path, gpu=1).joules() == 0.0
