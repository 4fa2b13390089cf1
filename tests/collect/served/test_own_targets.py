"""What was told of a student's own text comes back from the disk to the last bit."""

from __future__ import annotations

from pathlib import Path

import torch

from potstill.collect.served.own_targets import OwnTargets
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import ExchangeTargets, LikeliestTokens

SPEC = TargetSpec("top-k", 5)


def told(key: str, rows: int, scorer: str = "test/nano") -> ExchangeTargets:
    generator = torch.Generator().manual_seed(rows)
    order_RV = torch.rand(rows, 40, generator=generator).argsort(-1)
    ids_RK = order_RV[:, :5].sort(-1).values
    logp_RK = torch.rand(rows, 5, generator=generator).log() - 2
    rest_R = torch.rand(rows, generator=generator).log()
    return ExchangeTargets(key, scorer, SPEC, LikeliestTokens(ids_RK, logp_RK, rest_R, 40))


def same(one: ExchangeTargets, other: LikeliestTokens) -> bool:
    values = one.values
    assert isinstance(values, LikeliestTokens)
    return all(
        torch.equal(a, b)
        for a, b in (
            (values.ids_RK, other.ids_RK),
            (values.logp_RK, other.logp_RK),
            (values.rest_R, other.rest_R),
        )
    )


def test_figures_come_back_as_they_were_and_by_group(tmp_path: Path) -> None:
    kept, first, second = OwnTargets(tmp_path / "read"), told("a", 3), told("b", 7)
    kept.append_targets([first])
    kept.begin(2)
    kept.append_targets([second, told("a", 4, "test/other")])
    for found in (kept, OwnTargets(tmp_path / "read")):
        assert found.target_ids("test/nano", SPEC) == {"a", "b"}
        assert found.target_ids("test/nano", TargetSpec("top-k", 4)) == set()
        back = found.targets("test/nano", SPEC, ["b", "a", "b"])
        assert same(second, back[0]) and same(first, back[1]) and same(second, back[2])
    kept.forget_before(2)
    assert OwnTargets(tmp_path / "read").target_ids("test/nano", SPEC) == {"b"}
    assert [path.name for path in (tmp_path / "read").iterdir()] == ["group-00000002.jsonl"]


def test_half_a_line_is_none(tmp_path: Path) -> None:
    kept = OwnTargets(tmp_path)
    kept.append_targets([told("a", 3)])
    path = tmp_path / "group-00000000.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:40])
    again = OwnTargets(tmp_path)
    again.append_targets([told("b", 2)])
    assert OwnTargets(tmp_path).target_ids("test/nano", SPEC) == {"a", "b"}
