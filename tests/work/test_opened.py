"""Models that are opened without a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.work.access import Access, Weights
from potstill.work.opened import Compute, Opened

COMPUTE = Compute("cpu", "fp32", "2026-01-31")


def test_a_teacher_is_opened_by_the_licence_in_its_files(nano_llama: Path, tmp_path: Path) -> None:
    met: list[str] = []
    store = ExchangeStore(str(tmp_path / "store"))
    opened = Opened(Access.to(Weights(str(nano_llama))), COMPUTE, store, met=met.append)
    assert opened.teacher is opened.parent
    assert met == [opened.teacher.identity]
    bare = Path(shutil.copytree(nano_llama, tmp_path / "bare"))
    (bare / "README.md").unlink()
    with pytest.raises(PotstillError, match="its files state no licence"):
        _ = Opened(Access.to(Weights(str(bare))), COMPUTE, store).teacher
    allowed = Opened(Access.to(Weights(str(bare))), COMPUTE, store, permit=lambda: None)
    assert allowed.teacher.identity == met[0]
    assert not (tmp_path / "store").exists()
