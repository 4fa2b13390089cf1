"""Fixtures that every test may use: nano models (built once, then kept) and nano prompts."""

from __future__ import annotations

import atexit
import gc
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from learnt_stores import Answered
    from potstill.exchanges.store import ExchangeStore
    from potstill.work.corpus import Corpus

# No test depends on how fast a machine is. Before a change lands drawn cases are always the same;
# elsewhere each run draws others.
settings.register_profile("potstill", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("potstill")

# LiteLLM would otherwise fetch its table of prices when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

# Runs are signed with a key that the tests make, and never with one's own.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="potstill-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)

# Where several files of tests run at once, each has one core, and so have the commands it runs.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

_TESTS = Path(__file__).parent
_NANO = Path(__file__).parent / "nano"
sys.path += [str(_TESTS), str(_NANO)]
_PARTS = ("lineage", "logs", "losses", "shrink", "trace", "train", "watermark")
sys.path += [str(_TESTS / part) for part in _PARTS]


def pytest_collection_finish() -> None:
    """Keep what was imported out of every later search for garbage, each of which would walk it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def what_is_left_is_not_walked() -> Iterator[None]:
    """Keep what a file of tests leaves behind out of them as well: it adds up over the files."""
    yield
    gc.collect()
    gc.freeze()


def _digest() -> str:
    """Name the builders and the packages that decide the models."""
    import torch
    import transformers

    parts = [path.read_bytes() for path in sorted(_NANO.glob("nano_*.py"))]
    parts += [torch.__version__.encode(), transformers.__version__.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


@pytest.fixture(scope="session")
def nano_model(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a function from a family's name to its model directory (do not write to it).

    Models are kept in pytest's cache folder between runs; `pytest --cache-clear` makes them
    again.
    """
    root = request.config.cache.mkdir(f"nano-{_digest()}")

    def directory(family: str) -> Path:
        import nano_models

        return nano_models.build(family, root / family)

    return directory


@pytest.fixture(scope="session")
def nano_llama(nano_model: Callable[[str], Path]) -> Path:
    """6 layers, tied embeddings, grouped heads, ChatML template."""
    return nano_model("llama")


@pytest.fixture(scope="session")
def nano_qwen3(nano_model: Callable[[str], Path]) -> Path:
    """4 layers, 490 tokens in a head of 512 rows."""
    return nano_model("qwen3")


@pytest.fixture(scope="session")
def nano_gemma(nano_model: Callable[[str], Path]) -> Path:
    """4 layers (Gemma 3), soft-capped logits, post-norms, sliding window of 24."""
    return nano_model("gemma")


@pytest.fixture(scope="session")
def nano_neox(nano_model: Callable[[str], Path]) -> Path:
    """4 layers, biases, parallel residual, no chat template."""
    return nano_model("neox")


@pytest.fixture(scope="session")
def nano_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .jsonl file of 330 distinct prompts (column `prompt`) that nano models can answer."""
    import nano_text

    path = tmp_path_factory.mktemp("prompts") / "nano.jsonl"
    lines = [json.dumps({"prompt": text}) for text in nano_text.prompts()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def llama_url() -> Iterator[str]:
    """Base URL of a llama.cpp server on loopback that serves SmolLM2, four at a time."""
    pytest.importorskip("xllamacpp", reason="needs the extra gguf (xllamacpp)")
    import llama_server
    from potstill.errors import PotstillError
    from potstill.models.gguf import package_file

    try:
        gguf = package_file(llama_server.PACKAGE)
    except PotstillError as error:
        pytest.skip(str(error))
    server = llama_server.started(gguf)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture(scope="module")
def stored(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """A store of a nano teacher's answers, made without a run, for the tests of one file."""
    from learnt_stores import answered

    return answered(nano_llama, tmp_path_factory.mktemp("stored") / "run")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExchangeStore]:
    """An empty store of exchanges."""
    from potstill.exchanges.store import ExchangeStore

    found = ExchangeStore(tmp_path / "store")
    yield found
    found.close()


@pytest.fixture
def corpus(stored: Answered) -> Iterator[Corpus]:
    """What `stored` holds, as stages read it."""
    found = stored.corpus()
    yield found
    found.store.close()
