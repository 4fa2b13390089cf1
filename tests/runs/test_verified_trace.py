"""A bundle checked in Python: from a folder or a .zip, with files of the verifier's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import bundles
import pytest

import potstill
from potstill.watermark.keys import write_key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bundles.Trace:
    found = bundles.finished(tmp_path_factory.mktemp("traces") / "one", marked=0.9)
    write_key(found.chain.parent / "epoch.key", bundles.KEY)
    return found


def test_a_folder_and_a_zip_of_it_come_to_the_same(made: bundles.Trace, tmp_path: Path) -> None:
    found = potstill.verify_trace(str(made.bundle))
    assert found.verdict == made.verdict and found.verdict.accused
    assert {check.what for check in found.not_checked} >= {"scores of the marks"}
    assert set(found.not_checked) < set(found.checks)
    archive = shutil.make_archive(str(tmp_path / "handed"), "zip", made.bundle)
    assert potstill.verify_trace(archive) == found


def test_with_the_key_the_scores_hold(made: bundles.Trace) -> None:
    key = made.chain.parent / "epoch.key"
    found = potstill.verify_trace(made.bundle, key=key, epoch="2026-12")
    states = {check.what: check.state for check in found.checks}
    assert states["scores of watermark-text (2026-12)"] == "holds"
    with pytest.raises(potstill.PotstillError, match=r"of epoch 2026-12, not of 2026-11"):
        potstill.verify_trace(made.bundle, key=key, epoch="2026-11")


def test_what_says_nothing_of_the_bundle_is_refused(made: bundles.Trace, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("")
    (tmp_path / "root.pem").write_text("no certificate")
    key = made.chain.parent / "epoch.key"
    for given, said in (
        ({"epoch": "2026-12"}, "says nothing without the key"),
        ({"key": key, "texts": [tmp_path / "texts.jsonl"]}, "holds other texts than any test"),
        ({"key": tmp_path / "none"}, "the key file"),
        ({"order_secret": tmp_path / "none"}, "give the file order.secret of a run"),
        ({"authorities": [tmp_path / "none.pem"]}, "give an authority's certificates"),
    ):
        with pytest.raises(potstill.PotstillError, match=said):
            potstill.verify_trace(made.bundle, **given)  # type: ignore[arg-type]


def test_one_file_may_stand_for_a_row_of_them(made: bundles.Trace, tmp_path: Path) -> None:
    for one in (str(tmp_path / "none.pem"), tmp_path / "none.pem"):
        with pytest.raises(potstill.PotstillError, match=r"none\.pem does not exist"):
            potstill.verify_trace(made.bundle, authorities=one)
        with pytest.raises(potstill.PotstillError, match=r"none\.pem does not exist"):
            potstill.verify_trace(made.bundle, key=made.chain.parent / "epoch.key", texts=one)


def test_what_was_tampered_with_is_named(tmp_path: Path) -> None:
    made = bundles.finished(tmp_path / "one")
    path = made.bundle / "raw" / "watermark-text-0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"index":4', b'"index":5'))
    with pytest.raises(potstill.PotstillError, match="record 4 of"):
        potstill.verify_trace(made.bundle)


def test_it_needs_no_torch(made: bundles.Trace) -> None:
    code = (
        "import sys, potstill; potstill.verify_trace(sys.argv[1]); "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made.bundle)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
