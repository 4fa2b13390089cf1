"""The planner by itself: arithmetic over drawn rates and sizes."""

from __future__ import annotations

from dataclasses import astuple

from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.runs.minutes.choose import Settled, amounts_at, choose, least_seconds
from potstill.runs.minutes.predict import Amounts, Rates, RunSizes, predict


def rates() -> st.SearchStrategy[Rates]:
    def each(low: float, high: float) -> st.SearchStrategy[float]:
        return st.floats(low, high)

    return st.builds(
        Rates,
        answer_token=each(1e-5, 0.02),
        teacher_token=each(1e-5, 0.01),
        student_token=each(1e-5, 0.01),
        text_token=each(0, 0.01),
        cut=each(0, 3),
        weigh=each(0, 2),
        weigh_position=each(0, 1e-3),
        heal=each(0, 5),
        heal_token=each(1e-6, 0.01),
        step_token=each(1e-5, 0.02),
        speed_round=each(0, 3),
        speed_token=each(0, 0.3),
    )


def sizes() -> st.SearchStrategy[RunSizes]:
    return st.builds(
        RunSizes,
        available=st.integers(1, 3000),
        validation=st.integers(1, 40),
        held_out=st.just(200),
        prompt=st.floats(4, 300),
        answer=st.floats(4, 300),
        held_out_answer=st.floats(4, 200),
        batch_tokens=st.integers(100, 8000),
        models=st.integers(1, 4),
        trainings=st.integers(1, 2),
        heals=st.booleans(),
        weighs=st.booleans(),
        search_rounds=st.sampled_from([0, 0, 3]),
        search_others=st.integers(0, 2),
        trial_tokens=st.just(4096),
        speed_tokens=st.integers(1, 50),
        pairs=st.integers(0, 6),
        pair_tokens=st.just(64),
        per_minute=st.sampled_from([0, 500]),
    )


def some(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | values


def stated() -> st.SearchStrategy[Settled]:
    return st.builds(
        Settled,
        prompts=st.none(),
        samples=some(st.integers(1, 3)),
        calibration_tokens=some(st.integers(256, 50_000)),
        candidates=some(st.integers(1, 8)),
        passes=st.none() | st.floats(0.1, 3),
        validate_every=some(st.integers(5, 100)),
        greedy=st.none() | st.booleans(),
    )


@settings(max_examples=40)
@given(rates(), sizes(), stated(), st.floats(1, 20_000))
def test_what_is_chosen_fits_wherever_anything_does(
    rates: Rates, sizes: RunSizes, given: Settled, seconds: float
) -> None:
    found = choose(seconds, rates, sizes, given)
    if least_seconds(rates, sizes, given) <= seconds:
        assert predict(rates, sizes, found).total <= seconds * (1 + 1e-9) + 1e-6
    else:
        text = amounts_at(0.0, sizes, given)
        assert (found.prompts, found.calibration_tokens) == (text.prompts, text.calibration_tokens)
    for name in ("samples", "calibration_tokens", "candidates"):
        if getattr(given, name) is not None:
            assert getattr(found, name) == getattr(given, name)
    assert found.greedy == bool(given.greedy)
    if given.passes is not None:
        held = found.answers * sizes.text
        assert found.steps == max(1, round(given.passes * held / sizes.batch_tokens))


def held(found: Amounts) -> tuple[int, ...]:
    return (found.answers, found.calibration_tokens, found.candidates)


@settings(max_examples=40)
@given(rates(), sizes(), stated(), st.floats(1, 10_000), st.floats(0, 10_000))
def test_more_seconds_never_buy_less(
    rates: Rates, sizes: RunSizes, given: Settled, seconds: float, more: float
) -> None:
    less, longer = (choose(s, rates, sizes, given) for s in (seconds, seconds + more))
    assert all(a <= b for a, b in zip(held(less), held(longer), strict=True))


@settings(max_examples=40)
@given(rates(), sizes(), stated(), st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_text_takes_no_less_of_anything(
    rates: Rates, sizes: RunSizes, given: Settled, text: float, more: float
) -> None:
    less, longer = (amounts_at(t, sizes, given) for t in (text, text + more))
    assert all(a <= b for a, b in zip(astuple(less), astuple(longer), strict=True))
    assert predict(rates, sizes, less).total <= predict(rates, sizes, longer).total + 1e-9


def test_training_takes_what_prompts_leave() -> None:
    rates = Rates(answer_token=1e-3, teacher_token=1e-3, student_token=1e-4, step_token=1e-3)
    sizes = RunSizes(100, 10, 200, 50, 50, 50, 1000)
    stated = Settled(samples=1, calibration_tokens=256, candidates=1, greedy=False)
    found = choose(45.0, rates, sizes, stated)
    assert found.prompts == 100
    # Four passes over 100 prompts of 100 tokens are 40 steps, however long there is.
    assert choose(6000.0, rates, sizes, stated).steps == 40
    assert 10 < found.steps < 40
    assert 44.0 < predict(rates, sizes, found).total <= 45.0
