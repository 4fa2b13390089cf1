"""Energy that the processor has used, from the counters that it keeps."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


# Read by hand: Zeus reads the same counters, but starts a process for each to follow its turns,
# and asks for pandas and scikit-learn. It reads GPUs, too, whose energy is not counted here.
class EnergyMeter:
    """Joules that the CPU packages have used since the meter was made.

    Reads RAPL counters (Linux powercap, Intel and AMD). They see the whole machine, other
    programs included, but no accelerator. `joules()` is None where the counters are missing or
    may not be read. A counter that wraps is followed through one turn between two calls (many
    minutes at full load), so long stages call `joules()` now and then.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._zones = _package_zones(powercap)
        self._last = [_read_counter(zone / "energy_uj") for zone in self._zones]
        self._used = 0

    def joules(self) -> float | None:
        """Return the joules used so far, or None where they cannot be read."""
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
