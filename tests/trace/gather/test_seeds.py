"""Seeds of a trace's questions and twins: decided by the plan, all different."""

from potstill.trace.gather.seeds import request_key, request_seed, twin_key


def test_seeds_of_twins_follow_from_the_plan() -> None:
    keys = {twin_key(d, c, i, t) for d in "ab" for c in "cd" for i in (0, 11) for t in (1, 110)}
    assert len(keys) == 16
    assert twin_key("a", "c", 1, 2) == twin_key("a", "c", 1, 2)
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)


def test_seeds_of_questions_follow_from_the_plan() -> None:
    keys = {request_key(d, t, c, n) for d in "ab" for t in "cd" for c in "ef" for n in (0, 11)}
    assert len(keys) == 16
    assert request_key("a", "c", "e", 2) == request_key("a", "c", "e", 2)
    assert all(0 <= request_seed(key) < 2**31 for key in keys)
