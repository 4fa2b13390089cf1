"""The README quotes committed results and nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_readme_says_what_the_result_files_say() -> None:
    place = ROOT / "benchmarks" / "readme_results.py"
    spec = importlib.util.spec_from_file_location("readme_results", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert module.with_results(readme, ROOT / "benchmarks" / "results") == readme
