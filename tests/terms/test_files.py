"""All files beside a model are weighed: the strictest wins, what contradicts is unknown."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from gguf import GGUFWriter
from safetensors.numpy import save_file

from licence_texts import APACHE, MIT, card
from potstill.errors import PotstillError
from potstill.models.last_norm import last_norm_digest
from potstill.terms import Stated, TermsDecision, decide, licence_of, packaged_facts
from potstill.terms.facts import KnownWeights, TermsFacts

TODAY = date(2026, 11, 30)
TAGGED = "---\nlicense: mit\ntags: [chat, '{}']\n---\n"
LLAMA31 = "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nof a test, whose text is left out\n"


def decided(model: Path, facts: TermsFacts | None = None) -> TermsDecision:
    return decide("m", licence_of(model, facts), Stated(), today=TODAY, facts=facts)


def write(model: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text, encoding="utf-8")
    return model


@pytest.mark.parametrize(
    ("files", "expected", "words"),
    [
        # A card and a licence file that share no licence.
        ({"README.md": card(license="mit"), "LICENSE": APACHE}, "unknown", "contradict each other"),
        ({"README.md": card(license="apache-2.0"), "LICENSE": LLAMA31}, "unknown", "contradict"),
        ({"README.md": card(license="llama3"), "LICENSE": MIT}, "deny", "README.md states llama3"),
        ({"README.md": card(license="mit"), "config.json": '{"license": "gemma"}'}, "unknown", ""),
        # Those that share one agree.
        ({"README.md": card(license="apache-2.0"), "LICENSE": APACHE}, "allow", ""),
        ({"README.md": card(license="MIT OR Apache-2.0"), "LICENSE": APACHE}, "allow", ""),
        (
            {"README.md": card(license="mit"), "LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE},
            "allow",
            "",
        ),
        ({"README.md": card(license="mit"), "LICENSES/MIT.txt": MIT}, "allow", ""),
        ({"README.md": card(license="llama3.1"), "LICENSES/l.txt": LLAMA31}, "conditions", ""),
        ({"LICENSES/x.txt": "Ask us."}, "unknown", "LICENSES/x.txt states a text"),
        # What it was made from counts, whatever its own label says.
        (
            {"README.md": card(license="apache-2.0", base_model="meta-llama/Llama-3.1-8B")},
            "conditions",
            "",
        ),
        (
            {"README.md": card(license="mit", base_model="meta-llama/Meta-Llama-3-8B")},
            "deny",
            "README.md states that it is made from meta-llama/Meta-Llama-3-8B",
        ),
        (
            {"README.md": card(license="mit", base_model=["Qwen/Qwen3-8B", "x/llama-2-7b"])},
            "deny",
            "",
        ),
        (
            {"README.md": card(license="mit", base_model="someone/something")},
            "unknown",
            "made from someone/something, which potstill has no facts on",
        ),
        ({"README.md": card(license="apache-2.0", base_model="Qwen/Qwen3-8B")}, "allow", ""),
        (
            {"README.md": TAGGED.format("distilled-from:google/gemma-3-4b")},
            "conditions",
            "",
        ),
        (
            {"README.md": TAGGED.format("base_model:finetune:x/Llama-3-8B")},
            "deny",
            "",
        ),
        (
            {
                "README.md": card(license="mit"),
                "config.json": json.dumps({"_name_or_path": "meta-llama/Meta-Llama-3-8B"}),
            },
            "deny",
            "config.json states that it is made from",
        ),
        (
            {
                "README.md": card(license="mit"),
                "config.json": json.dumps({"_name_or_path": "/home/somebody/out/checkpoint-3"}),
            },
            "allow",
            "",
        ),
        (
            {"potstill-source.json": json.dumps({"license": "mit", "base_models": ["Llama 3 8B"]})},
            "deny",
            "",
        ),
        (
            {
                "potstill-source.json": json.dumps(
                    {"license": "other", "license_name": "qwen-research"}
                )
            },
            "conditions",
            "",
        ),
        # A policy of use beside a licence that has none.
        (
            {"LICENSE": APACHE, "USE_POLICY.md": "Not for this."},
            "unknown",
            "USE_POLICY.md is a policy of use beside the licence, which potstill has no facts on",
        ),
        ({"LICENSE": MIT, "Prohibited_Use_Policy.txt": "No."}, "unknown", ""),
        ({"LICENSE": MIT, "acceptable-use.md": "No."}, "unknown", ""),
        ({"LICENSE": LLAMA31, "USE_POLICY.md": "Not for this."}, "conditions", ""),
        ({"LICENSE": APACHE, "NOTICE": "Somebody's"}, "allow", ""),
        ({"GEMMA_TERMS_OF_USE.md": "Gemma Terms of Use\n..."}, "conditions", ""),
    ],
)
def test_all_files_are_weighed(
    tmp_path: Path, files: dict[str, str], expected: str, words: str
) -> None:
    decision = decided(write(tmp_path, files))
    assert decision.outcome == expected
    assert words in decision.reason


HEAD = "---\n{}\n---\n"
META = "meta-llama/Meta-Llama-3-8B"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # A value that is no name of a licence is not nothing.
        ({"README.md": card(license={"name": "mit"}), "LICENSE": MIT}, "unknown"),
        ({"README.md": card(license=["mit", {"name": "x"}]), "LICENSE": MIT}, "unknown"),
        ({"README.md": card(license="mit", base_model={"name": META})}, "unknown"),
        ({"LICENSE": MIT, "config.json": '{"license": {"name": "llama3"}}'}, "unknown"),
        ({"LICENSE": MIT, "config.json": '{"license": ["mit", "llama3"]}'}, "deny"),
        ({"LICENSE": MIT, "config.json": "{"}, "unknown"),
        ({"LICENSE": MIT, "config.json": '{"license": "llama3", "license": "mit"}'}, "unknown"),
        ({"LICENSE": MIT, "potstill-source.json": "["}, "unknown"),
        ({"LICENSE": MIT, "student-terms.json": ""}, "unknown"),
        ({"LICENSE": MIT, "config.json": '{"potstill_terms": null}'}, "unknown"),
        # Of a key that stands twice all values count, in whatever spelling.
        ({"README.md": HEAD.format("license: llama3\nlicense: mit")}, "deny"),
        ({"README.md": HEAD.format("License: llama3\nlicense: mit")}, "deny"),
        ({"README.md": HEAD.format(f"license: mit\nBase_Model: {META}")}, "deny"),
        ({"README.md": HEAD.format("license: mit\nlicense_name: llama3")}, "deny"),
        ({"README.md": HEAD.format("license:\n- llama3\nx: : {"), "LICENSE": MIT}, "unknown"),
        ({"README.md": "\n" + card(license="llama3"), "LICENSE": MIT}, "deny"),
        ({"readme.md": card(license="llama3")}, "deny"),
        ({"README.md": card(license="mit", base_model=["Qwen/Qwen3-8B"] + 20 * [META])}, "deny"),
        (
            {
                "README.md": card(
                    license="mit", base_model=[*(f"Qwen/Qwen3-{n}B" for n in range(20)), META]
                )
            },
            "deny",
        ),
        # Licences by other names, and what only has the name of one.
        ({"README.md": card(license="mit"), "MODEL_LICENSE": "Ask us."}, "unknown"),
        ({"README.md": card(license="mit"), "EULA.txt": "Ask us."}, "unknown"),
        ({"README.md": card(license="mit"), "LICENSE/terms.txt": "Ask us."}, "unknown"),
        ({"README.md": card(license="mit"), "check_license.py": "import re"}, "allow"),
        ({"README.md": card(license="mit"), "config.json": '{"scale": Infinity}'}, "allow"),
    ],
)
def test_nothing_that_is_stated_is_overlooked(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    assert decided(write(tmp_path, files)).outcome == expected


def test_a_card_in_another_encoding_is_not_overlooked(tmp_path: Path) -> None:
    write(tmp_path, {"LICENSE": MIT})
    (tmp_path / "README.md").write_bytes(card(license="llama3").encode("utf-16"))
    assert decided(tmp_path).outcome == "unknown"
    (tmp_path / "README.md").write_bytes(card(license="llama3").replace("\n", "\r").encode())
    assert decided(tmp_path).outcome == "deny"


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "config.json", "USE_POLICY.md"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"LICENSE.txt": MIT})
    os.mkfifo(tmp_path / name)
    assert decided(tmp_path).outcome == "unknown"
    (tmp_path / name).unlink()
    assert decided(tmp_path).outcome == "allow"


def test_a_licence_that_points_to_nothing_is_not_overlooked(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": card(license="mit")})
    (tmp_path / "LICENSE").symlink_to(tmp_path / "away")
    assert "LICENSE states a licence that cannot be read" in decided(tmp_path).reason


def test_a_contradiction_stops_in_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": card(license="mit"), "LICENSE": APACHE})
    with pytest.raises(PotstillError) as caught:
        decided(tmp_path).require()
    said = "README.md states mit and LICENSE states apache-2.0, which contradict each other"
    assert said in str(caught.value) and "\n" not in str(caught.value)


def weights(path: Path, norm: np.ndarray, name: str = "model.norm.weight") -> None:
    others = {"model.layers.0.input_layernorm.weight": np.ones(8, np.float32)}
    save_file({name: norm, **others}, path / "model.safetensors")


def known(digest: str, entry: str) -> TermsFacts:
    one = KnownWeights(digest=digest, model="a known model", entry=entry)
    return packaged_facts().model_copy(update={"weights": (one,)})


def test_known_weights_are_told_whatever_lies_beside_them(tmp_path: Path) -> None:
    norm = np.random.default_rng(3).normal(1, 0.25, 8).astype(np.float16).astype(np.float32)
    facts = known(blake3(norm.tobytes()).hexdigest(length=16), "llama3")
    for number, kind in enumerate((np.float32, np.float16)):
        model = tmp_path / f"an-innocent-name-{number}"
        model.mkdir()
        weights(model, norm.astype(kind))
        write(model, {"README.md": card(license="mit"), "LICENSE": MIT})
        decision = decided(model, facts)
        assert decision.outcome == "deny"
        assert "the weights states weights of a known model" in decision.reason
    weights(model, norm + 1)
    assert decided(model, facts).outcome == "allow"


def test_known_weights_of_another_licence_contradict_a_card(tmp_path: Path) -> None:
    norm = np.linspace(0, 1, 8, dtype=np.float32)
    weights(tmp_path, norm, "transformer.ln_f.weight")
    write(tmp_path, {"README.md": card(license="mit")})
    facts = known(blake3(norm.tobytes()).hexdigest(length=16), "gemma")
    decision = decided(tmp_path, facts)
    assert decision.outcome == "unknown" and "contradict each other" in decision.reason


def gguf(path: Path, norm: np.ndarray, **fields: str) -> Path:
    writer = GGUFWriter(path, "llama")
    for name, value in fields.items():
        writer.add_string(f"general.{name.replace('__', '.')}", value)
    # Longer than what is kept of a list: a vocabulary.
    writer.add_array("tokenizer.ggml.tokens", [f"token{n}" for n in range(3000)])
    writer.add_array("tokenizer.ggml.token_type", list(range(3000)))
    writer.add_tensor("token_embd.weight", np.zeros(33, dtype=np.float32))
    writer.add_tensor("output_norm.weight", norm)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_is_weighed_as_it_is(tmp_path: Path) -> None:
    norm = np.linspace(1, 2, 40, dtype=np.float32)
    path = gguf(tmp_path / "renamed.gguf", norm, license="mit")
    assert decided(path).outcome == "allow"
    assert last_norm_digest(path) == blake3(norm.tobytes()).hexdigest(length=16)
    facts = known(last_norm_digest(path) or "", "llama3")
    assert decided(path, facts).outcome == "deny"
    url = "https://huggingface.co/meta-llama/Meta-Llama-3-8B"
    named = {"base_model__0__repo_url": url, "base_model__0__name": "Anything"}
    tuned = gguf(tmp_path / "tuned.gguf", norm, license="mit", **named)
    assert decided(tuned).outcome == "deny"
    other = {"license": "other", "license__name": "qwen-research"}
    assert decided(gguf(tmp_path / "q.gguf", norm, **other)).outcome == "conditions"
    assert decided(gguf(tmp_path / "none.gguf", norm)).outcome == "unknown"


@pytest.mark.parametrize("kept", [9, 30, 200, 20_000])
def test_a_gguf_file_that_ends_early_is_refused(tmp_path: Path, kept: int) -> None:
    path = gguf(tmp_path / "m.gguf", np.ones(8, dtype=np.float32), license="mit")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(PotstillError, match=r"m\.gguf is cut off or damaged"):
        licence_of(path)


def test_the_packaged_digests_are_of_weights_that_have_entries() -> None:
    facts = packaged_facts()
    assert facts.weights and all(facts.entry(one.entry) for one in facts.weights)
