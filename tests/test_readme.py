"""The README quotes committed results and nothing else."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


RESULTS = ROOT / "benchmarks" / "results"


def writer() -> ModuleType:
    place = ROOT / "benchmarks" / "readme_results.py"
    spec = importlib.util.spec_from_file_location("readme_results", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_and_the_methods_say_what_the_result_files_say() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert writer().with_results(readme, RESULTS) == readme
    page = (ROOT / "docs" / "methods" / "watermark.md").read_text(encoding="utf-8")
    assert writer().with_mark_costs(page, RESULTS) == page
    for name, written in (
        ("trace-zoo", writer().with_zoo),
        ("trace", writer().with_nulls),
        ("trace-ancestry", writer().with_ancestry),
    ):
        page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        assert written(page, RESULTS) == page


def test_speeds_and_costs_of_marks_stand_in_their_cells(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text((RESULTS / "calibration.json").read_text())
    claims = {"tokens_per_s": 6.25e6, "vs_textseal": 123.4, "decode_cost_8_streams": 0.0123}
    detection = [
        {"part": "detection", "scheme": scheme, "text": text, "tokens": 3_000_000}
        | {"parameters": {"window": window}, "tokens_per_s": (10 - window) * 1e6}
        for scheme in ("green", "gumbel")
        for text in ("zipf", "even")
        for window in (1, 2, 3, 4)
    ]
    peer = [
        {"part": "peer", "contender": name, "parameters": {"window": window}, "tokens": 2_000}
        | {"tokens_per_s": rate * window}
        for name, rate in (("potstill", 5_000), ("textseal batch", 50))
        for window in (1, 4)
    ]
    decoding = [
        {"part": "decoding", "precision": precision, "streams": 8, "cost": cost} | facts
        for precision, cost in (("fp32", 0.01), ("bf16", -0.002))
        for facts in ({"scheme": "green"}, {"scheme": "gumbel", "surviving": 50})
    ]
    found = {
        "date": "2026-12-02T00:00:00+00:00",
        "commit": "abc",
        "machine": {"cores": 2, "peers": {"textseal": "9.9"}},
        "claims": {name: {"value": value} for name, value in claims.items()},
        "rows": [{"part": "machine"}, *detection, *peer, *decoding],
    }
    (tmp_path / "detect.json").write_text(json.dumps(found))
    marks = writer().marks(tmp_path)
    for cell in ("| 6.2 million |", "| 123 times |", "| 1.2% |"):
        assert cell in marks
    page = writer().mark_costs(tmp_path)
    assert "| green list, tokens drawn evenly | 9.0 | 8.0 | 7.0 | 6.0 |" in page
    assert "| textseal batch | 50 | 200 |" in page
    assert "| green | 8 | all | +1.0% | -0.2% |" in page
    assert "| gumbel | 8 | 50 | +1.0% | -0.2% |" in page
