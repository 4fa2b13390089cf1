"""The demo of a watch goes from logs to pages without torch, and says what it found in truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.errors import PotstillError

pytest.importorskip("ibis", reason="traffic is read with the extra `watch`")

from potstill.runs import demo_watch as demo

# The command itself, on few requests, in a process of its own.
CODE = """
import sys
from potstill.runs import demo_watch
demo_watch.QUICK = 4_000
from potstill.cli.app import app
app(["demo", "watch", "--quick", "--quiet", "--out", sys.argv[1]], standalone_mode=False)
assert not {"torch", "transformers"} & set(sys.modules)
"""


def test_the_demo_loads_no_torch_and_tells_every_campaigns_fate(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    campaigns = pq.read_table(root / "world" / "truth" / "campaigns.parquet").to_pylist()
    assert campaigns
    for one in campaigns:
        assert one["campaign_id"] in done.stdout
    assert f"of {len(campaigns)} campaigns named" in done.stdout
    assert done.stdout.count("NAMED") + done.stdout.count("missed") == len(campaigns)
    page = root / "store" / "cases" / "cases.html"
    assert f"page: {page}" in done.stdout
    assert page.is_file()


def test_traffic_is_made_once_and_one_of_another_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "QUICK", 3_000)
    first = demo.demo_watch(tmp_path / "demo", quick=True)
    world = tmp_path / "demo" / "world" / "world.json"
    written = world.stat().st_mtime_ns
    said: list[str] = []
    assert demo.demo_watch(tmp_path / "demo", quick=True, tell=said.append) == first
    assert world.stat().st_mtime_ns == written
    assert "3,000 requests" in " ".join(said)
    with pytest.raises(PotstillError, match="of this size"):
        demo.demo_watch(tmp_path / "demo")
    held_to_the_truth(tmp_path, first)


def held_to_the_truth(tmp_path: Path, found: demo.WatchDemo) -> None:
    """Count every request of a campaign's accounts again."""
    asked = pq.read_table(tmp_path / "demo" / "world" / "truth" / "requests").to_pylist()
    truth = pq.read_table(tmp_path / "demo" / "world" / "truth" / "accounts.parquet").to_pylist()
    campaign = {one["account_id"]: one["campaign_id"] for one in truth}
    for one in found.campaigns:
        mine = [row for row in asked if campaign[row["account_id"]] == one.hidden.name]
        assert sum(one.hidden.accounts.values()) == len(mine)
        # Requests that have nothing to do with the campaign are its accounts' too.
        assert len(mine) >= sum(row["campaign_id"] == one.hidden.name for row in mine)
    assert found.innocent == sum(campaign[row["account_id"]] is None for row in asked)


@pytest.mark.parametrize("option", [["--set", "seed=1"], ["--fresh"]])
def test_options_of_a_recipe_are_refused(option: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "watch", "--out", str(tmp_path / "x"), *option])
    assert result.exit_code == 2
    assert "no recipe that --set could change" in result.output
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_the_whole_demo_names_campaigns_and_writes_their_pages(tmp_path: Path) -> None:
    found = demo.demo_watch(tmp_path / "demo")
    assert found.innocent > 150_000
    named = [one for one in found.campaigns if one.named]
    assert named
    for one in named:
        for case in one.cases:
            assert (found.page.parent / case / "case.html").is_file()
