"""Are the keyed functions' bits the same on every Python, numpy and torch? Runs the vectors' tests.

    python tools/vectors.py [--python 3.11 --python 3.12 ...]

For each Python that is found (on the path, or of pyenv) and for the oldest and the newest numpy
that it has wheels of: an environment of its own, with numpy and what tests need and nothing else of
potstill's, and in it the tests that hold published and committed vectors. Then torch's, with the
Python that runs this, where it has torch. Prints a line each and which Pythons were not found;
exits 1 where a test fails or nothing could be run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
# numpy of each Python: from potstill's oldest on, the first that has wheels for it, and any.
OLDEST = {"3.11": "numpy==2.0.*", "3.12": "numpy==2.0.*", "3.13": "numpy==2.1.*"}
NEWEST = "numpy"
NEEDED = ("pytest", "hypothesis", "blake3", "scipy")
NUMPY_TESTS = (
    "tests/watermark/test_prf.py",
    "tests/watermark/test_philox.py",
    "tests/watermark/test_vllm_prf.py",
    "tests/models/test_counter.py",
)
TORCH_TESTS = ("tests/watermark/test_torch_prf.py",)
_VERSIONS = "import sys, {0}; print('Python', sys.version.split()[0] + ', {0}', {0}.__version__)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only these")
    wanted = parser.parse_args().python or PYTHONS
    found = {version: python_of(version) for version in wanted}
    equal = []
    for version, python in found.items():
        for numpy in (OLDEST[version], NEWEST) if python else ():
            equal.append(in_environment(python, numpy))
    if find_spec("torch"):
        equal.append(run(sys.executable, "torch", TORCH_TESTS))
    else:
        print("torch: not installed here, so not tried")
    for version in (version for version, python in found.items() if python is None):
        print(f"Python {version}: not found, so not tried")
    sys.exit(0 if equal and all(equal) else 1)


def python_of(version: str) -> str | None:
    """Return a Python of this version, None where there is none."""
    places = [shutil.which(f"python{version}")]
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places += sorted(map(str, home.glob(f"versions/{version}.*/bin/python")))
    return next((place for place in places if place and version_of(place) == version), None)


def version_of(python: str) -> str | None:
    """Return which Python this is; None where it does not run, as pyenv's place holders do not."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None


def in_environment(python: str, numpy: str) -> bool:
    """Tell whether the tests pass with a Python and a numpy, and print it."""
    with tempfile.TemporaryDirectory() as place:
        inside = str(Path(place) / ("Scripts" if os.name == "nt" else "bin") / "python")
        subprocess.run([python, "-m", "venv", place], check=True)
        install = [inside, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, "--only-binary", ":all:", numpy, *NEEDED], check=True)
        return run(inside, "numpy", NUMPY_TESTS)


def run(python: str, package: str, tests: tuple[str, ...]) -> bool:
    """Tell whether tests pass, and print it with the versions they ran on."""
    # Without the fixtures of other tests, whose packages are not there.
    options = ["--noconftest", "--import-mode=importlib", "-q", "-p", "no:cacheprovider"]
    paths = os.pathsep.join(str(ROOT / place) for place in ("src", "tests/watermark"))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    versions = subprocess.run(
        [python, "-c", _VERSIONS.format(package)], capture_output=True, text=True, check=True
    ).stdout.strip()
    tried = subprocess.run(
        [python, "-m", "pytest", *options, *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last = (tried.stdout.strip().splitlines() or ["nothing ran"])[-1]
    print(f"{versions}: {'equal' if tried.returncode == 0 else 'DIFFERENT'} ({last})", flush=True)
    if tried.returncode:
        print(tried.stdout + tried.stderr)
    return tried.returncode == 0


if __name__ == "__main__":
    main()
