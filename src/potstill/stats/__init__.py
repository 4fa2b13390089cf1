"""Exact tests, e-values, intervals: numpy and scipy only."""
