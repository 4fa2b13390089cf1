"""Log-probabilities of a server become targets only where every token is certain."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from potstill.collect.served.distribution import NoTargets
from potstill.collect.served.targets import given_tokens, likeliest_tokens
from potstill.endpoint.wire import Choice, ScoredToken
from potstill.models.teacher_tokens import TeacherTokens


@pytest.fixture(scope="module")
def tokens(nano_llama: Path) -> TeacherTokens:
    return TeacherTokens.of(nano_llama)


def plain_ids(tokens: TeacherTokens, count: int) -> list[int]:
    """Return ids whose text no other token has, and which are no special ones."""
    special = set(tokens.tokenizer.all_special_ids)
    return [i for text, i in tokens.id_of_text.items() if i not in special and text.isalpha()][
        :count
    ]


def answer(tokens: TeacherTokens, *, by_text: bool = False, finish: str = "stop") -> Choice:
    a, b, c = plain_ids(tokens, 3)
    end = tokens.eos_ids[0]
    ids = [a, b, *([end] if finish == "stop" else [])]

    def named(token_id: int) -> tuple[int, str]:
        return (-1 if by_text else token_id, tokens.texts[token_id])

    def scored(token_id: int) -> ScoredToken:
        likely = dict.fromkeys((token_id, c, b, a, end))
        top = tuple((*named(other), -0.5 - n) for n, other in enumerate(likely))
        return ScoredToken(*named(token_id), top)

    scores = tuple(scored(i) for i in ids)
    text = tokens.tokenizer.decode(ids, skip_special_tokens=True)
    return Choice(text, "stop" if finish == "stop" else "length", scores=scores)


def reason(choice: Choice, tokens: TeacherTokens, count: int = 2) -> str:
    with pytest.raises(NoTargets) as caught:
        likeliest_tokens(choice, tokens, count)
    return str(caught.value)


@pytest.mark.parametrize("by_text", [False, True])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_ids_and_values_are_kept(tokens: TeacherTokens, by_text: bool, finish: str) -> None:
    choice = answer(tokens, by_text=by_text, finish=finish)
    ids, values = likeliest_tokens(choice, tokens, 3)
    assert choice.scores is not None
    assert [tokens.texts[i] for i in ids] == [score.text for score in choice.scores]
    assert values.width == tokens.width
    assert values.ids_RK.shape == values.logp_RK.shape == (len(ids), 3)
    assert (values.ids_RK.diff(dim=1) > 0).all()
    for row, score in enumerate(choice.scores):
        best = sorted(score.top, key=lambda entry: -entry[2])[:3]
        found = dict(zip(values.ids_RK[row].tolist(), values.logp_RK[row].tolist(), strict=True))
        named = {tokens.id_of_text[text]: logp for _, text, logp in best}
        assert found == pytest.approx(named)


def test_a_text_that_two_tokens_have_is_left_out(tokens: TeacherTokens) -> None:
    choice = answer(tokens, by_text=True)
    shared = replace(tokens)
    twin = tokens.texts[plain_ids(tokens, 1)[0]]
    shared.__dict__["texts"] = [*tokens.texts[:-1], twin]
    assert reason(choice, shared) == "a token's text that has no id, or several"


def test_another_tokenizer_is_noticed(tokens: TeacherTokens) -> None:
    choice = answer(tokens)
    assert choice.scores is not None
    first = choice.scores[0]
    wrong = (replace(first, text="zzz"), *choice.scores[1:])
    assert "another text" in reason(replace(choice, scores=wrong), tokens)
    beyond = (replace(first, token_id=10**6), *choice.scores[1:])
    assert "another text" in reason(replace(choice, scores=beyond), tokens)
    assert "do not spell" in reason(replace(choice, text="something else"), tokens)


def test_parts_of_characters_are_known_by_their_ids(tokens: TeacherTokens) -> None:
    """A server may print the whole character at the token that ends it."""
    ids = tokens.tokenizer("\N{SEEDLING}", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1 and all("\ufffd" in tokens.texts[i] for i in ids)
    other = plain_ids(tokens, 1)[0]

    def scored(token_id: int, text: str) -> ScoredToken:
        return ScoredToken(token_id, text, ((token_id, text, -0.5), (other, "", -1.5)))

    printed = ["" for _ in ids[1:]] + ["\N{SEEDLING}"]
    scores = tuple(scored(i, text) for i, text in zip(ids, printed, strict=True))
    choice = Choice("\N{SEEDLING}", "length", scores=scores)
    found, values = likeliest_tokens(choice, tokens, 2)
    assert found == tuple(ids) and len(values) == len(ids)
    wrong = replace(choice, text="\N{BLACK STAR}")
    assert "do not spell" in reason(wrong, tokens)
    # llama.cpp leaves out the parts that it holds back.
    assert "some are missing" in reason(replace(choice, scores=scores[-1:]), tokens)


def test_what_is_not_whole_is_left_out(tokens: TeacherTokens) -> None:
    choice = answer(tokens)
    assert choice.scores is not None
    assert reason(replace(choice, scores=None), tokens) == "the server gave no log-probabilities"
    assert "more than its text" in reason(replace(choice, reasoning="because"), tokens)
    cut = replace(choice, scores=choice.scores[:-1])
    assert reason(cut, tokens) == "no log-probabilities of the end of the response"
    assert "fewer likeliest tokens" in reason(choice, tokens, 9)
    above = (replace(choice.scores[0], top=((*choice.scores[0].top[0][:2], 0.5),)),)
    broken = replace(choice, scores=(*above, *choice.scores[1:]))
    assert reason(broken, tokens, 1) == "a log-probability that is none"
    high = tuple(
        (*entry[:2], logp) for entry, logp in zip(choice.scores[0].top, (-0.1, -0.2), strict=False)
    )
    both = (replace(choice.scores[0], top=high), *choice.scores[1:])
    assert "add up to more than 1" in reason(replace(choice, scores=both), tokens)


@pytest.mark.parametrize(
    ("told", "rest"),
    [
        ((-0.5, -1.5), 1 - math.exp(-0.5) - math.exp(-1.5)),
        ((-0.001, -7.5), 1 - math.exp(-0.001) - math.exp(-7.5)),
        ((-1e-4, -9.5), 1 - math.exp(-1e-4) - math.exp(-9.5)),
        # What is left is less than fp32 could tell: as much as rounding hides.
        ((0.0, -30.0), 2.0**-20),
        ((-1.2e-7, -20.0), 2.0**-20),
        ((-0.6931472, -0.6931472), 2.0**-20),
        ((0.0, -140.0), 2.0**-20),
        # bf16: more than 1 in all, which is put right.
        ((-0.6914, -0.6914), 2.0**-20),
    ],
)
def test_the_rest_is_what_a_server_leaves_of_one(
    told: tuple[float, float], rest: float, tokens: TeacherTokens
) -> None:
    a, b = plain_ids(tokens, 2)
    top = tuple((i, tokens.texts[i], logp) for i, logp in zip((a, b), told, strict=True))
    values = given_tokens([ScoredToken(a, tokens.texts[a], top)], tokens, 2)
    assert float(values.rest_R.exp()) == pytest.approx(rest, rel=5e-3)
    total = values.logp_RK.double().exp().sum() + values.rest_R.double().exp()
    assert float(total) == pytest.approx(1, abs=1e-6)
    found = dict(zip(values.ids_RK[0].tolist(), values.logp_RK[0].tolist(), strict=True))
    assert found == pytest.approx(dict(zip((a, b), told, strict=True)), abs=3e-3)


def test_a_server_that_tells_every_token_leaves_no_rest(tokens: TeacherTokens) -> None:
    few = replace(tokens)
    few.__dict__["texts"] = tokens.texts[:2]
    few.__dict__["tokenizer"] = tokens.texts[:2]  # of which two are all there are
    top = tuple((i, tokens.texts[i], math.log(0.5)) for i in range(2))
    values = given_tokens([ScoredToken(0, tokens.texts[0], top)], few, 2)
    assert values.rest_R.tolist() == [-math.inf]
