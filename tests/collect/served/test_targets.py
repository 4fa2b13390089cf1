"""Log-probabilities of a server become targets only where every token is certain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from potstill.collect.served.targets import NoTargets, TeacherTokens, likeliest_tokens
from potstill.models.endpoint.wire import Choice, ScoredToken


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
