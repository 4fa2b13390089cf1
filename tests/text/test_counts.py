"""Numbers of things, and lists of them, in words."""

from potstill.text.counts import by_number, listed, many


def test_one_is_one_and_all_others_are_more() -> None:
    assert by_number(1, "row was", "rows were") == "1 row was"
    assert [by_number(n, "row", "rows") for n in (0, 2, 11, 21)] == [
        "0 rows",
        "2 rows",
        "11 rows",
        "21 rows",
    ]


def test_a_noun_takes_an_s_after_any_number_but_one() -> None:
    assert [many(n, "text") for n in (0, 1, 2, 1200)] == [
        "0 texts",
        "1 text",
        "2 texts",
        "1,200 texts",
    ]


def test_the_last_of_several_names_comes_after_and() -> None:
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
