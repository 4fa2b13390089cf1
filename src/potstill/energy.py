"""Energy that processors have used, from the counters that they keep."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


# CPU packages are read by hand: Zeus, which reads GPUs, reads the same counters, but starts a
# process for each of them to follow its turns.
class EnergyMeter:
    """Joules that the CPU packages, and a GPU where Zeus is installed, have used since it was made.

    Reads RAPL counters (Linux powercap, Intel and AMD), and those of the `gpu` with that number
    where `counts_gpus`. They see the whole machine, other programs included. `joules()` is None
    where any of them is missing or may not be read. A counter that wraps is followed through one
    turn between two calls (many minutes at full load), so long stages call `joules()` now and then.
    """

    def __init__(self, powercap: Path = POWERCAP, *, gpu: int | None = None) -> None:
        self._zones = _package_zones(powercap)
        self._last = [_read_counter(zone / "energy_uj") for zone in self._zones]
        self._used = 0
        self._gpu = _gpu_counter(gpu) if gpu is not None and counts_gpus() else None
        self._gpu_at_first = self._gpu() if self._gpu is not None else None

    def joules(self) -> float | None:
        """Return the joules used so far, or None where they cannot be read."""
        of_packages, of_gpu = self._of_packages(), self._of_gpu()
        return None if of_packages is None or of_gpu is None else of_packages + of_gpu

    def _of_gpu(self) -> float | None:
        if self._gpu is None:
            return 0.0
        now = self._gpu()
        return None if now is None or self._gpu_at_first is None else now - self._gpu_at_first

    def _of_packages(self) -> float | None:
        now = [_read_counter(zone / "energy_uj") for zone in self._zones]
        if not now or None in now or None in self._last:
            return None
        for zone, before, after in zip(self._zones, self._last, now, strict=True):
            assert before is not None and after is not None
            wrapped = _read_counter(zone / "max_energy_range_uj") if after < before else 0
            if wrapped is None:
                return None
            self._used += after - before + wrapped
        self._last = now
        return self._used / 1e6


def counts_gpus() -> bool:
    """Tell whether what reads a GPU's energy is installed (the extra `energy`)."""
    return find_spec("zeus") is not None


def _gpu_counter(gpu: int) -> Callable[[], float | None]:
    """Return what reads the joules that a GPU has used since its driver was loaded."""
    try:
        devices = import_module("zeus.device")
    except ImportError:  # it lacks a package of its own
        return lambda: None
    fault = import_module("zeus.exception").ZeusBaseError

    def read() -> float | None:
        try:
            return float(devices.get_gpus().get_total_energy_consumption(gpu)) / 1000
        except (fault, IndexError):  # no driver, an older GPU, one that may not be asked
            return None

    return read


def _package_zones(powercap: Path) -> list[Path]:
    # Sub-zones (cores, memory) are part of their package and psys contains it: only packages,
    # so that nothing is counted twice.
    try:
        zones = sorted(powercap.glob("intel-rapl:*"))
        return [zone for zone in zones if (zone / "name").read_text().strip().startswith("package")]
    except OSError:
        return []


def _read_counter(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
