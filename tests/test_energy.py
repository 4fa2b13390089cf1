"""Energy: which counters are read, and how they turn over."""

from __future__ import annotations

from pathlib import Path

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
