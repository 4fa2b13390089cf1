"""Which families have a GGUF file: the table of docs/how-to/serve.md, against the converter."""

from __future__ import annotations

import re
from pathlib import Path

import nano_text
import pytest
import torch

import family_models
import llama_server
from potstill.errors import PotstillError
from potstill.models.chat import prompt_ids
from potstill.models.export import to_gguf
from potstill.models.load import load
from potstill.models.loaded import LoadedModel

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"
NO_TOKENIZER_MODEL = "a tokenizer.model"
TABLE = dict(
    re.findall(
        r"^\| ([^|]+?) \| ((?:yes|no)[^|]*?) \|$",
        PAGE.read_text(encoding="utf-8").partition("## A GGUF file")[2],
        re.MULTILINE,
    )
)


def test_the_page_has_every_family() -> None:
    assert list(TABLE) == list(family_models.FAMILIES)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family == "Phi-3" else pytest.mark.slow)
        for family in family_models.FAMILIES
    ],
)
def test_a_family_is_exported_or_refused_as_the_page_says(
    family: str, nano_llama: Path, tmp_path: Path
) -> None:
    """What is exported writes the same text; what is not is refused with the page's reason."""
    pytest.importorskip("xllamacpp", reason="needs the extra gguf (xllamacpp)")
    directory = family_models.write(family, nano_llama, tmp_path / "model")
    if TABLE[family].startswith("no"):
        with pytest.raises(PotstillError, match=re.escape(NO_TOKENIZER_MODEL)) as refused:
            to_gguf(directory, tmp_path / "s.gguf", "f16")
        assert "tokenizer.model" in TABLE[family]
        assert "serve its safetensors with" in str(refused.value)
        assert not (tmp_path / "s.gguf").exists()
        return
    model = load(str(directory), precision="fp32")
    path = to_gguf(directory, tmp_path / "s.gguf", "f16")
    assert agrees(model, path)


@torch.no_grad()
def agrees(model: LoadedModel, path: Path) -> bool:
    """Tell whether llama.cpp's token is each time, but for rounding, the one that is likeliest."""
    from httpx2 import Client

    server = llama_server.started(path, slots=1, context=256)
    with Client(base_url=server.listening_address, timeout=60) as client:
        for text in nano_text.prompts()[:3]:
            ids = list(prompt_ids(model, [{"role": "user", "content": text}]))
            wanted = {"prompt": ids, "n_predict": 6, "temperature": 0, "return_tokens": True}
            for token in client.post("/completion", json=wanted).json()["tokens"]:
                logits_V = model.network(input_ids=torch.tensor([ids])).logits[0, -1]
                if float(logits_V.max() - logits_V[token]) > 0.05:
                    return False
                ids.append(token)
    del server
    return True


@pytest.mark.slow
def test_a_narrowed_phi_2_is_refused_and_not_written(nano_llama: Path, tmp_path: Path) -> None:
    """The converter states four times the hidden size, whatever the width is."""
    directory = family_models.write("Phi-2", nano_llama, tmp_path / "model", intermediate_size=128)
    with pytest.raises(PotstillError, match=r"to be 256 wide and the student's are 128; serve"):
        to_gguf(directory, tmp_path / "s.gguf", "f16")
    assert not (tmp_path / "s.gguf").exists()


def test_a_tokenizer_model_that_is_there_needs_its_package(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Only then is the package the way out."""
    try:
        import sentencepiece  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("sentencepiece is installed")
    directory = family_models.write("Phi-3", nano_llama, tmp_path / "model")
    (directory / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(PotstillError, match=r"needs the package sentencepiece; run: pip install"):
        to_gguf(directory, tmp_path / "s.gguf", "f16")
