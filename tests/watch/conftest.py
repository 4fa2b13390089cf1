"""Tests of the watch find what they share beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("ibis", reason="traffic is read with the extra `watch`")
sys.path.append(str(Path(__file__).parent))
