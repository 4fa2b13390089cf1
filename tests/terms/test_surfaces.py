"""What the host and the name of a served model say of its terms, before anything is asked."""

from __future__ import annotations

from datetime import date

import pytest

from potstill.errors import PotstillError
from potstill.terms import Stated, decide, evidence_of_endpoint, packaged_facts
from potstill.terms.facts import TermsOutcome

TODAY = date(2026, 11, 25)
OWN = "http://127.0.0.1:8000/v1"


def outcome(url: str, model: str, today: date = TODAY) -> TermsOutcome:
    return decide(model, evidence_of_endpoint(url, model), Stated(), today=today).outcome


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", "deny"),
        ("https://API.OpenAI.com.:443/v1", "deny"),
        ("https://eu.api.openai.com/v1", "deny"),
        ("https://api.anthropic.com/v1", "deny"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "deny"),
        ("https://api.x.ai/v1", "deny"),
        ("https://api.z.ai/api/paas/v4", "deny"),
        ("https://api.deepseek.com/v1", "allow"),
        ("https://api.deepseek.com.example.org/v1", "unknown"),
        ("https://notapi.deepseek.com/v1", "unknown"),
        ("https://notopenai.com/v1", "unknown"),
        ("https://api.mistral.ai/v1", "unknown"),
        ("https://openrouter.ai/api/v1", "unknown"),
        ("https://ollama.com/v1", "unknown"),
        ("https://llm.example.org/v1", "unknown"),
        ("http://8.8.8.8:8000/v1", "unknown"),
        ("http://134744072/v1", "unknown"),
    ],
)
def test_a_hosted_service_is_judged_by_its_own_terms(url: str, expected: TermsOutcome) -> None:
    assert outcome(url, "SmolLM2-135M-Instruct") == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("SmolLM2-135M-Instruct", "allow"),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "allow"),
        ("/models/SmolLM2-135M-Instruct-Q4_1.gguf", "allow"),
        ("gpt-oss:20b", "allow"),
        ("openai/gpt-oss-120b", "allow"),
        ("qwen2.5:7b", "allow"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct", "allow"),
        ("Qwen/Qwen2.5-3B-Instruct", "conditions"),
        ("Qwen/Qwen2.5-72B-Instruct", "conditions"),
        ("Qwen/Qwen3-0.6B", "allow"),
        ("qwen3:30b-a3b", "allow"),
        ("Qwen/Qwen9-8B", "unknown"),
        ("deepseek-ai/DeepSeek-R1", "allow"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "conditions"),
        ("meta-llama/Llama-2-7b-chat-hf", "deny"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "deny"),
        ("llama3:8b", "deny"),
        ("NousResearch/Hermes-2-Pro-Llama-3-8B", "deny"),
        ("SmolLM2-merged-with-Llama-3", "deny"),
        ("llama3.1:8b", "conditions"),
        ("meta-llama/Llama-3.2-1B-Instruct", "conditions"),
        ("meta-llama/Llama-3.3-70B-Instruct", "conditions"),
        ("meta-llama/Llama-4-Scout", "conditions"),
        ("google/gemma-3-270m-it", "conditions"),
        ("gemma3:4b", "conditions"),
        ("google/gemma-4-9b", "allow"),
        ("xai-org/grok-2", "deny"),
        ("LGAI-EXAONE/EXAONE-4.0-32B", "unknown"),
        ("my-smollm2-finetune", "unknown"),
        ("a-model-of-mine", "unknown"),
        ("", "unknown"),
        # A gateway of one's own passes hosted models on.
        ("gpt-4o", "deny"),
        ("openai/o3-mini", "deny"),
        ("claude-sonnet-4", "deny"),
        ("gemini-2.5-pro", "deny"),
        ("grok-4", "deny"),
        ("gpt-oss:120b-cloud", "unknown"),
    ],
)
@pytest.mark.parametrize("url", [OWN, "http://[::1]:1/v1", "http://10.0.0.7/v1", "http://vllm/v1"])
def test_on_a_host_of_ones_own_the_models_licence_decides(
    url: str, model: str, expected: TermsOutcome
) -> None:
    assert outcome(url, model) == expected


def test_a_name_that_forbids_outweighs_a_host_that_is_not_known() -> None:
    assert outcome("https://openrouter.ai/api/v1", "meta-llama/llama-3-8b-instruct") == "deny"
    assert outcome("https://openrouter.ai/api/v1", "qwen/qwen2.5-7b-instruct") == "unknown"


def test_facts_that_are_too_old_permit_nothing() -> None:
    assert outcome("https://api.deepseek.com/v1", "deepseek-chat", date(2028, 1, 1)) == "unknown"
    assert outcome("https://api.openai.com/v1", "gpt-4o", date(2028, 1, 1)) == "deny"


def test_the_reason_names_the_host() -> None:
    evidence = evidence_of_endpoint("https://llm.example.org/v1", "m")
    stated = Stated(setting="teacher.terms.authorisation")
    decision = decide("m", evidence, stated, today=TODAY)
    with pytest.raises(PotstillError, match=r"llm\.example\.org states terms of its own") as caught:
        decision.require()
    assert "teacher.terms.authorisation" in str(caught.value)


def test_an_authorisation_permits_an_unknown_host(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "permission.txt"
    file.write_text("You may distil from us.", encoding="utf-8")
    evidence = evidence_of_endpoint("https://llm.example.org/v1", "m")
    decision = decide("m", evidence, Stated(authorisation=str(file)), today=TODAY)
    assert decision.require().authorisation is not None
    assert decision.record().startswith("unknown: terms of its own; facts 2026-11.2; authorisation")


def test_every_family_names_an_entry_and_none_is_permitted_unverified() -> None:
    facts = packaged_facts()
    assert [f.pattern for f in facts.families if facts.entry(f.entry) is None] == []
    ids = [entry.id for entry in (*facts.licences, *facts.surfaces)]
    assert len(set(ids)) == len(ids)
    for surface in facts.surfaces:
        assert surface.recheck_after is not None
        assert surface.confidence != "U" or surface.outcome(TODAY) in ("unknown", "deny")
