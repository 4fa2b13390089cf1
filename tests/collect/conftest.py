"""Logs of calls, written by the tests."""

from __future__ import annotations

from call_logs import take, write

__all__ = ["take", "write"]
