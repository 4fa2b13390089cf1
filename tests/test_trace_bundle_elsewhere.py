"""A bundle is checked by a wheel of this tree, on another path, with core packages alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import authority
import bundles
import pytest

from potstill.trace.plan import PLAN_FILE
from potstill.trace.timestamps import can_check

ROOT = Path(__file__).parents[1]
# As if it were not installed: what the extra `trace` brings.
_WITHOUT = "import sys; sys.modules['rfc3161_client'] = None; "


@pytest.mark.slow
def test_a_wheel_verifies_a_bundle_from_elsewhere(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path / "wheels"), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(
            f"no wheel can be built here (its build needs hatchling): {built.stderr[-200:]}"
        )
    (wheel,) = (tmp_path / "wheels").glob("potstill-*.whl")
    own = tmp_path / "environment"
    venv.create(own, with_pip=False)
    # Core packages come from this environment; potstill itself from the wheel alone.
    (site,) = own.glob("lib/python*/site-packages")
    install = [*pip, "install", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "core.pth").write_text(packages + "\n")

    begun = bundles.fixed(tmp_path / "here" / "one")
    stamped = authority.OPENSSL is not None and can_check()
    if stamped:
        own_clock = authority.made(tmp_path / "authority")
        token = own_clock.reply((begun.bundle / PLAN_FILE).read_bytes())
        made = bundles.stamped(begun, own_clock, token)
    else:
        made = bundles.answered(begun, marked=0.9)
    there = tmp_path / "there" / "somebody else's"
    shutil.copytree(made.bundle, there)
    shutil.rmtree(tmp_path / "here")
    python = own / "bin" / "python"
    code = _WITHOUT + "from potstill.cli import main; main()"
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    verify = [str(python), "-c", code, "trace", "verify", str(there), "--json"]
    done = subprocess.run(
        verify, cwd=tmp_path, env={**environ, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accused"] is True
    if stamped:
        (check,) = (one for one in found["checks"] if one["what"].startswith("tokens/"))
        assert check["state"] == "not checked" and "token not checked" in check["detail"]
    where = subprocess.run(
        [str(python), "-c", "import potstill; print(potstill.__file__)"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(own)
    path = there / "raw" / "watermark-text-0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"index":2', b'"index":3'))
    done = subprocess.run(verify, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 2 and "record 2 of" in done.stderr
