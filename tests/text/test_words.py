"""Words and signs: what tells two texts apart, and what does not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.text.words import is_word, words_of


def same(one: str, other: str) -> bool:
    return words_of(one) == words_of(other)


@pytest.mark.parametrize(
    "texts",
    [
        ["What is 17 - 25?", "What is 17 + 25?", "What is 17 * 25?", "What is 17 / 25?"],
        ["What is 17 - 25?", "What is 17 25?", "What is 1725?", "What is 17 = 25?"],
        ["What is 17 × 25?", "What is 17 ÷ 25?", "What is 17 ± 25?", "What is 17 ^ 25?"],
        ["What is 17 % 25?", "What is 17 & 25?", "What is 17 | 25?", "What is 17 ** 25?"],
        ["Is 3 < 4?", "Is 3 > 4?", "Is 3 = 4?", "Is 3 <= 4?", "Is 3 != 4?", "Is 3 ≤ 4?"],
        ["Square 5.", "Square -5.", "Square +5.", "Square .5.", "Square ~5.", "Square 5%."],
        ["It costs $5.", "It costs 5%.", "It costs 5.", "It costs €5.", "It costs 5°."],
        ["Write it in C.", "Write it in C++.", "Write it in C#.", "Write it in C--."],
        ["i++", "i--", "i", "-i", "!i", "i+", "i!+1"],
        ["x - y", "x + y", "x y", "x * y", "x/y"],
        ["(2 + 3) * 4", "2 + (3 * 4)", "2 + 3 * 4"],
        ["-(2 + 3) * 4", "-2 + 3 * 4", "(2 + 3) * 4"],
        ["x²", "x2", "x³", "x 2"],
        ["½", "1/2", "1 2"],
        ["1.5 + 2", "15 + 2", "1:5 + 2", "1 5 + 2"],
        ["5! / 3", "5 / 3"],
        ["ls -l", "ls l"],
        ["rm --force", "rm force"],
        ["SELECT * FROM t", "SELECT FROM t"],
        ["COUNT(*)", "COUNT()"],
        ["a | b", "a & b", "a b", "a || b"],
        ["f(2.3)", "f(2,3)"],
        ["What does 😀 mean?", "What does 😢 mean?", "What does mean?"],
        ["A → B", "A ← B", "A B"],
        ["  17\n- 25\n----", "  17\n+ 25\n----", "17\n25"],
        ["#5 of 6", "5 of 6"],
        ["me@here", "me here"],
        ["2*3*4", "2/3/4", "2 3 4"],
        ["17 − 25", "17 + 25"],
        ["7-3", "7 3", "73"],
        ["$.5", ".5", "$5"],
        ["दिन क्या है?", "दान क्या है?", "दीन क्या है?", "दन क्या है?"],
        ["কি কর?", "কা কর?", "ক কর?"],
        ["கடல்", "கடலை", "கடல"],
        ["လူ", "လေ", "လ"],
        ["What is f'(2)?", "What is f(2)?", "What is f''(2)?"],
        ["Find f’(x).", "Find f(x)."],
        ["What does {} do?", "What does [] do?", "What does () do?", "What does do?"],
        ["What does `;` do in C?", "What does `,` do in C?", "What does `:` do in C?"],
        ['Say "?" aloud', 'Say "." aloud', "Say “!” aloud", "Say aloud"],
    ],
)
def test_signs_tell_texts_apart(texts):
    for i, one in enumerate(texts):
        for other in texts[:i]:
            assert not same(one, other), (one, other, words_of(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 17 - 25?", "what is 17-25"),
        ("What is 17 - 25?", "What is 17 -25 ?"),
        ("What is 17 - 25?", "What is 17 − 25!"),
        ("What is 17 - 25?", "What is **17 - 25**?"),
        ("What is 17 - 25?", "- What is `17 - 25`?"),
        ("What is 17 - 25?", "# What is\n\n17 -\n25"),
        ("17 - 25", "17\n- 25"),
        ("What is 17 - 25?", "What is **17** - **25**?"),
        ("What is 17 - 25?", "What is `17`-`25`?"),
        ("What is 17 - 25?", "What is _17_ - *25*?"),
        ("What is 17 - 25?", "What is “17” - “25”?"),
        ("What is $5?", "What is **$5**?"),
        ("2*3", "2 * 3"),
        ("2*3", "2 *3"),
        ("C++", "C ++"),
        ("What is $2+2$?", "What is 2+2?"),
        ("What is $$x^2$$?", "What is x^2?"),
        ("1990–1995", "1990-1995"),
        ("a well-known e-mail", "a well known e mail"),
        ("GPT-4 and COVID-19", "GPT 4 and COVID 19"),
        ("word -- word — word - word", "word word word word"),
        ("**Bold** and *em* and ~~gone~~ and `code`", "bold and em and gone and code"),
        ("- one\n- two\n* three\n+ four\n• five", "one two three four five"),
        ("-one\n-two", "One, two"),
        ("# Title #\n\n## Part\ntext", "Title\nPart text"),
        ("> quoted\n>> twice", "quoted twice"),
        ("Title\n=====\ntext\n-----\n***\n", "Title: text"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a b 1 2"),
        ("```\ncode here\n```", "code here"),
        ("1. one\n2. two", "1 one 2 two"),
        ("(optional) [link](there)", "optional link there"),
        ("这是**重点**内容", "这是重点内容"),
        ("Wow!!! Really?!", "wow really"),
        ("“Quoted” text…", '"quoted" TEXT'),
        ("Tell  me\nabout cafés!", "Tell me about cafe\u0301s"),
        ("＋５ ＝ ５", "+5 = 5"),
        ("It's 3. 5 came.", "its 3 5 came".replace("its", "it s")),
        ("I have 5!", "I have 5."),
        ('["a","b"]', '["a", "b"]'),
        ("Call print() now", "call print now"),
        ("Don't (ever) say 'x' (once)", "Don't ever say x once"),
    ],
)
def test_case_spacing_markdown_and_final_punctuation_do_not(one, other):
    assert words_of(one) == words_of(other)


def test_words_of_plain_text_are_its_words():
    text = "Don't panic: 42 is (almost) the answer; isn't it?"
    expected = ["don", "t", "panic", "42", "is", "almost", "the", "answer", "isn", "t", "it"]
    assert words_of(text) == tuple(expected)
    assert words_of("请写诗") == ("请", "写", "诗")


def test_a_text_without_words_or_signs_is_itself():
    assert words_of("") == words_of("  \n") == ("",)
    assert words_of("?!") == ("?!",)
    assert words_of("---") == ("---",)
    assert not same("???", "...")


@pytest.mark.parametrize(
    ("word", "is_one"), [("a", True), ("17", True), ("光", True), ("+", False)]
)
def test_signs_are_no_words(word, is_one):
    assert words_of(f"x {word} y")[1] == word
    assert is_word(word) == is_one


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_has_a_form_that_outer_space_and_case_of_ascii_leave(text):
    words = words_of(text)
    assert words and all(word == word.strip() for word in words)
    if text.isascii() and text.strip():
        assert words_of(f" {text.upper()}\n".lower()) == words_of(text.lower())


def test_sums_with_other_signs_are_never_equal():
    draw = random.Random(0)
    for _ in range(300):
        one, other = draw.randint(-99, 99), draw.randint(-99, 99)
        forms = [f"What is {one} {sign} {other}?" for sign in "+-*/"]
        tight = [form.replace(" + ", "+").replace(" * ", "*").replace(" / ", "/") for form in forms]
        assert len({words_of(form) for form in forms}) == 4
        assert [words_of(form) for form in tight] == [words_of(form) for form in forms]
