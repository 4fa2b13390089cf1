"""Benchmarks are no part of the package: tests find them beside one another."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "benchmarks")]
