"""What readers are told of a lineage: a card, bills of materials, a notice, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from lineage_parts import BASE, KL, TEACHER, TERMS, cost_of, lineage

from potstill.errors import PotstillError
from potstill.lineage.bom import VERSIONS, as_bytes, bom_of, require_references
from potstill.lineage.card import card_of
from potstill.lineage.document import LineageFacts, ModelFacts
from potstill.lineage.files import FileEntry
from potstill.lineage.notice import notice_of_lineage
from potstill.lineage.operations import operation_sentences, operations_of, whole_training
from potstill.report.notice import markdown_of, page_of

FILES = {"model.safetensors": FileEntry(bytes=9, blake3="8" * 64)}
HOSTILE = "<script>alert(1)</script> | `x` [a](b)\n# head"


def bom(facts: LineageFacts, version: str = "1.6") -> dict[str, Any]:
    return bom_of(
        "mine",
        facts,
        FILES,
        version=version,
        created_at="2026-11-30T12:00:00+00:00",
        potstill="0.1.0",
    )


def read_card(text: str, folder: Path) -> ModelCard:
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return ModelCard.load(path)


def test_the_card_says_all_of_it_to_hugging_face(tmp_path: Path) -> None:
    facts = lineage()
    card = read_card(card_of("mine", facts, "It needs transformers 5."), tmp_path)
    data = card.data
    assert data.base_model == "small/base" and "distilled-from:big/teacher" in data.tags
    # The licence of a student of another base is for whoever hands it out to state.
    assert data.license is None and data.library_name == "transformers"
    (kl, perplexity) = data.eval_results
    assert (kl.metric_type, kl.metric_value) == ("kl_per_token", 0.25)
    assert kl.metric_args == {"ci95": [0.2, 0.3125], "prompts": 40}
    assert perplexity.metric_type == "perplexity"
    assert facts.data is not None
    for told in (
        "Distilled from: big/teacher.",
        "weights began as those of small/base",
        "It needs transformers 5.",
        'name begins with "Llama"',
        TERMS["authorisation"],
        facts.data.exchanges,
        facts.data.splits["held_out"].prompts,
        "money, EUR: 0.5",
        "joules: unknown",
        "no legal advice",
        "potstill verify . --key",
    ):
        assert told in card.text, told


def test_a_student_that_was_cut_from_its_teacher_is_under_its_licence(tmp_path: Path) -> None:
    one = TERMS | {"licences": ["apache-2.0"], "outcome": "allow"}
    cut = lineage(base=TEACHER, terms=one)
    assert read_card(card_of("mine", cut), tmp_path).data.license == "apache-2.0"
    assert "cut from the teacher's" in card_of("mine", cut)
    for terms in (
        one | {"licences": ["apache-2.0", "mit"]},
        one | {"outcome": "unknown"},
        one | {"licences": []},
    ):
        card = read_card(card_of("mine", lineage(base=TEACHER, terms=terms)), tmp_path)
        assert card.data.license is None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_bill_of_materials_is_valid_and_says_all_of_it(version: str) -> None:
    schema = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")
    facts = lineage()
    text = as_bytes(bom(facts, version)).decode()
    of = {"1.6": schema.SchemaVersion.V1_6, "1.7": schema.SchemaVersion.V1_7}[version]
    assert validation.JsonStrictValidator(of).validate_str(text) is None
    broken = text.replace('"machine-learning-model"', '"model"')
    assert validation.JsonStrictValidator(of).validate_str(broken) is not None
    student = json.loads(text)["metadata"]["component"]
    ancestors = {one["name"]: one for one in student["pedigree"]["ancestors"]}
    assert "distilled from" in ancestors["big/teacher"]["description"]
    assert "weights began as" in ancestors["small/base"]["description"]
    assert ancestors["big/teacher"]["licenses"] == [{"license": {"name": "llama3.1"}}]
    (metric, _) = student["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert float(metric["value"]) == KL.value and metric["type"] == "kl_per_token"
    assert metric["confidenceInterval"] == {"lowerBound": "0.2", "upperBound": "0.3125"}
    obligations = student["modelCard"]["considerations"]["ethicalConsiderations"]
    assert [one["mitigationStrategy"] for one in obligations] == TERMS["conditions"]
    told = {one["name"]: one["value"] for one in student["properties"]}
    assert told["potstill:cost:flops"] == "3e+20" and told["potstill:cost:joules"] == "unknown"
    assert facts.data is not None and told["potstill:digest:answers"] == facts.data.exchanges
    assert told["potstill:terms:authorisation"] == TERMS["authorisation"]


def test_the_library_reads_the_bill_of_materials_s_pedigree() -> None:
    model = pytest.importorskip("cyclonedx.model.bom")
    found = model.Bom.from_json(json.loads(as_bytes(bom(lineage()))))
    pedigree = found.metadata.component.pedigree
    assert {one.name for one in pedigree.ancestors} == {"big/teacher", "small/base"}
    files = {one.name: one for one in found.components}
    (digest,) = files["model.safetensors"].hashes
    assert (digest.alg.value, digest.content) == ("BLAKE3", "8" * 64)


def test_references_to_nothing_and_doubled_names_are_refused() -> None:
    made = bom(lineage())
    require_references(made)
    made["dependencies"][0]["dependsOn"].append("nothing")
    with pytest.raises(PotstillError, match="refers to nothing, which is not in it"):
        require_references(made)
    twice = bom(lineage())
    twice["components"].append(twice["components"][0])
    with pytest.raises(PotstillError, match=r"two things .* are called data-held_out"):
        require_references(twice)


def test_equal_lineages_have_equal_bills() -> None:
    assert as_bytes(bom(lineage())) == as_bytes(bom(lineage()))
    other = lineage(student=ModelFacts(identity="blake3:" + "9" * 32))
    assert bom(other)["serialNumber"] != bom(lineage())["serialNumber"]


def test_operations_stand_beside_what_is_stated_and_nothing_is_guessed() -> None:
    said = " ".join(operation_sentences(lineage()))
    assert "3e+20 floating-point operations" in said and "below the 1e23" in said
    assert "training of the teacher took is unknown" in said
    assert "0.5 of the 6e+20 that the training of the base" in said and "more than a third" in said
    assert "A guideline, and no legal advice." in said
    less = lineage(operations=operations_of(1e20, TEACHER, BASE).model_dump(mode="json"))
    assert "not more than a third" in " ".join(operation_sentences(less))
    large = lineage(operations=operations_of(1e23, None, None).model_dump(mode="json"))
    assert "not below the 1e23" in " ".join(operation_sentences(large))
    assert list(operation_sentences(LineageFacts())) == []


def test_what_a_chain_of_trainings_took_is_known_only_where_its_root_s_is() -> None:
    assert whole_training(lineage()) == 3e20 + 6e20
    assert whole_training(lineage(base=TEACHER)) is None
    assert whole_training(LineageFacts()) is None


def test_a_student_that_learnt_from_nobody_says_so() -> None:
    facts = LineageFacts(base=BASE, student=ModelFacts(identity="x"))
    text = card_of("mine", facts)
    assert "no model was asked" in text and "distilled-from" not in text
    assert "Nothing was measured" in text and "Unknown." in text
    assert json.loads(as_bytes(bom(facts)))["metadata"]["component"]["pedigree"]["ancestors"]
    notice = markdown_of("mine", "2026-11-30T12:00:00+00:00", notice_of_lineage(facts, "mine"))
    assert "those of no other model" in notice and "Nothing is known of it." in notice


def test_a_reader_is_told_in_the_notice_who_read() -> None:
    read = {"model": "reader", "identity": "x", "terms": TERMS | {"reason": "its host is known"}}
    assert "Whoever read them: llama3.1" in card_of("mine", lineage(reader=read))
    told = {
        p["name"]: p["value"]
        for p in bom(lineage(reader=read))["metadata"]["component"]["properties"]
    }
    assert told["potstill:reader:reason"] == "its host is known"


def test_terms_of_the_base_are_told_beside_those_of_the_answers() -> None:
    facts = lineage(base_terms=TERMS | {"licences": ["mit"], "conditions": ["Keep the notice."]})
    assert "The base: mit" in card_of("mine", facts)
    notice = markdown_of("mine", "2026-11-30T12:00:00+00:00", notice_of_lineage(facts, "mine"))
    assert "The model that the weights began as states: mit" in notice
    student = bom(facts)["metadata"]["component"]
    obligations = student["modelCard"]["considerations"]["ethicalConsiderations"]
    assert "Keep the notice." in [one["mitigationStrategy"] for one in obligations]
    assert {"name": "potstill:base:outcome", "value": "conditions"} in student["properties"]


def test_the_notice_says_it_in_plain_words() -> None:
    created = "2026-11-30T12:00:00+00:00"
    text = markdown_of("mine", created, notice_of_lineage(lineage(), "mine"))
    for told in (
        "It learnt the answers of big/teacher",
        "if what is listed here is kept",
        "0.25 (95% interval 0.2 to 0.3125, 40 prompts)",
        "Of 4 held-out prompts, 0 are equal",
        "potstill verify DIRECTORY --key PUBLIC_KEY",
        "no legal advice",
        "carry a mark",
    ):
        assert told in text, told
    assert len([line for line in text.splitlines() if line.startswith(("pip ", "potstill "))]) == 3


def test_names_of_others_are_text_wherever_they_stand(tmp_path: Path) -> None:
    facts = lineage(
        teacher=ModelFacts(model=HOSTILE, identity="x"),
        terms=TERMS | {"reason": HOSTILE, "conditions": [HOSTILE]},
    )
    card = read_card(card_of("mine", facts), tmp_path)
    assert "<script>" not in card.text.replace("\\<", "") and "\n# head" not in card.text
    page = page_of("mine", "notice", "2026-11-30T12:00:00+00:00", notice_of_lineage(facts, "mine"))
    assert "<script>" not in page
    assert (
        json.loads(as_bytes(bom(facts)))["metadata"]["component"]["pedigree"]["ancestors"][0][
            "name"
        ]
        == HOSTILE
    )


def test_what_was_not_said_of_money_is_unknown() -> None:
    cost = cost_of(1.0).model_dump(mode="json")
    cost["total"]["money"] = cost["total"]["tokens"] = None
    assert "tokens: unknown" in card_of("mine", lineage(cost=cost))


@pytest.mark.parametrize(
    "facts",
    [
        {"figures": {"models": 1}},
        {"cost": {"x": 1}},
        {"operations": {"run": -1}},
        {"operations": {"run": 1, "base": 0}},
    ],
)
def test_a_manifest_s_parts_that_are_something_else_are_one_sentence(
    facts: dict[str, Any],
) -> None:
    (name,) = facts
    with pytest.raises(PotstillError, match=rf"manifest\.json holds {name} that this version"):
        notice_of_lineage(lineage(**facts), "mine")
