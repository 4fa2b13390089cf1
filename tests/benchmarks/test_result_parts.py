"""Parts of a benchmark are measured one by one, and leave the others' results as they are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from result_parts import write_part


def test_a_part_is_replaced_alone(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    old = {"date": "d", "commit": "c", "machine": {}, "claims": {"a": {"value": 1}}}
    path.write_text(json.dumps({**old, "rows": [{"n": 1}]}))
    for value in (2, 3):
        claims, rows = {"s": {"value": value}}, [{"n": value}]
        write_part("b", "server", claims, rows, torch.float32, results=tmp_path)
    found = json.loads(path.read_text())
    assert found["claims"] == {"a": {"value": 1}, "s": {"value": 3, "part": "server"}}
    assert found["rows"] == [{"n": 1}, {"part": "server", "n": 3}]
    assert found["parts"]["exact"] == {"date": "d", "commit": "c", "machine": {}}
    assert found["parts"]["server"]["commit"] == found["commit"] != "c"
    write_part("b", "exact", {"x": {"value": 4}}, [], torch.float32, results=tmp_path)
    found = json.loads(path.read_text())
    assert set(found["claims"]) == {"s", "x"} and len(found["rows"]) == 1
