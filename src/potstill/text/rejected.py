"""Whether a text names something only to reject it: "this is not billing", "rather than billing".

A negation reaches over a few words that carry no meaning of their own (articles, prepositions,
"the queue for"), and over "or", "nor" and "and" to what is named next. Any other word, and
punctuation between, ends it: what cannot be told stays named. English is covered best; of other
languages only what stands right beside the name.
"""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEGATIONS = _set(
    "not never neither nor isnt arent wasnt doesnt dont didnt cant cannot wont wouldnt shouldnt "
    "without except excluding unlike rather_than instead_of as_opposed_to other_than none_of "
    "no_longer not_so_much far_from nothing_to_do_with "
    "nicht kein keine keinen keiner keinem keines weder statt anstatt "
    "pas ni plutôt_que au_lieu_de en_lugar_de en_vez_de não nem em_vez_de né anziché invece_di "
    "niet geen in_plaats_van не ни вместо"
)
# They negate in one language and do something else in another.
_NEGATIONS_BESIDE = _set("no non")
_FILLERS = _set(
    "a an the any this that these those it its i we you they there to for of in about on with "
    "under as at into by from be is are was were been being am seem seems seemed appear appears "
    "look looks sound sounds belong belongs concern concerns concerning relate relates related go "
    "goes fall falls fit fits match matches count counts think believe say call consider classify "
    "classified label labelled labeled categorised categorized assign assigned route routed send "
    "sent considered called described put file filed tag tagged treated regarded necessarily "
    "really actually quite exactly clearly strictly primarily mainly at_all all sure certain "
    "convinced if whether should would could can may might will must do does did have has either "
    "both category class queue answer department team topic issue case kind type sort request "
    "right correct best"
)
_FILLERS_BESIDE = _set(
    "der die das ein eine einen einem einer um zu für una uno de du des la le les un une el los "
    "las del al en es se trata o os as uma do da é è di il lo een het den dit это от"
)
_ARTICLES = r"(?:(?:a|an|the|any|to|for|of|in|about|with|der|die|das|la|le|el|un|una|une)\s+)*"
_AND = re.compile(
    rf"[\s\"')]*,?\s*(?:/|(?:or|nor|and|and/or|oder|noch|und|ou|ni|o|né|of|en|или|ни|и)\s+|或者?|和|、)"
    rf"\s*{_ARTICLES}[\"'(]*"
)
_COMMA = re.compile(r"[\"')]*\s*,\s*[\"'(]*")
# Said of what is affirmed; the words in them negate nothing.
_AFFIRMING = (
    r"no (?:doubt|question|problem|matter)|without (?:a |any )?(?:doubt|question)|why not|"
    r"whether or not|(?:not|nicht|no|não|non|niet|не) (?:only|just|merely|simply|nur|s[oó]lo|só|"
    r"apenas|somente|alleen|только)|pas seulement|(?:nothing|none|no) other than|nothing but|"
    r"can(?:'t|not) be (?:anything|other|anything other) (?:but|than)"
)
_PHRASES = re.compile(
    rf"\b(?:{_AFFIRMING}|none of|rather than|instead of|as opposed to|other than|no longer|"
    r"not so much|far from|nothing to do with|at all|plutôt que|au lieu de|en lugar de|en vez de|"
    r"em vez de|invece di|in plaats van)\b"
)
_WORD = re.compile(r"[\w'-]+")
_SOFT = re.compile(r"[\s\"'“”„«»()\[\]]*")
_BEFORE_CHINESE = re.compile(
    r"(?:(?<!是)不是|并非|並非|不属于|不屬於|不应是|非)(?:关于|關於|一个|一個)?[\"'“「]*"
)
_AFTER = re.compile(
    r"""["')\]]*(?:\s(?:queue|category|label|class|department|team|topic|issue|option))?["')]*(?:
    \s(?:is|was|are|were|would\sbe|seems|looks)\s
      (?:wrong|incorrect|inappropriate|irrelevant|excluded|(?:ruled\s)?out|rejected|unlikely)\b
    |\s(?:is|was|are|were)(?:n't|\snot|\snever)\s
      (?:the|an?|it|right|correct|appropriate|suitable|relevant|applicable|possible|what|likely|
      meant|concerned)\b
    |\s(?:does|do|did|would|will|can|could|should)(?:n't|\snot)\s
      (?:fit|apply|match|work|be|belong|describe|cover|suit)\b
    |\scan(?:not|'t)\s(?:be|apply|fit)\b
    |\s(?:can|could|may|might)\sbe\s(?:ruled\sout|excluded|dismissed|rejected)\b
    |\?\s*no\b
    |\s(?:passt\snicht|trifft\snicht\szu|ist\sfalsch|ist\ses\snicht)\b
    |[」』]?(?:では|じゃ)(?:ない|なく|ありません)
    |[」』]?(?:이|가|은|는)?\s?(?:아니|아닙|아닌)
    )""",
    re.VERBOSE,
)
_REACH = 160  # characters before a name in which a negation is looked for


def set_phrases(text: str) -> list[tuple[int, int]]:
    """Return where words stand together that, as names, would be none: "other than", "no doubt".

    "None of" is left out: it may well be an answer.
    """
    return [m.span() for m in _PHRASES.finditer(text) if m[0] != "none of"]


def rejected(text: str, names: list[tuple[int, int]]) -> list[bool]:
    """Return for each span of a name, in the order of the text, whether it is rejected there.

    The text is in lower case, with straight quotes and no emphasis.
    """
    found = [_negated_before(text[:start]) or bool(_AFTER.match(text, end)) for start, end in names]
    for first in range(len(names)):
        if found[first]:
            _carry_on(text, names, found, first)
    return found


def _carry_on(text: str, names: list[tuple[int, int]], found: list[bool], first: int) -> None:
    """Reject what a list goes on with: "not billing or delivery", "neither a, b nor c".

    Commas alone make no such list: "not billing, delivery" names delivery.
    """
    last = first
    for i in range(first + 1, len(names)):
        between = text[names[i - 1][1] : names[i][0]]
        if _AND.fullmatch(between):
            last = i
        elif not _COMMA.fullmatch(between):
            break
    found[first : last + 1] = [True] * (last + 1 - first)


def _negated_before(before: str) -> bool:
    """Return whether a negation stands before a name, with nothing but fillers between them."""
    near = _PHRASES.sub(lambda match: match[0].replace(" ", "_"), before[-_REACH:])
    if re.search(rf"{_BEFORE_CHINESE.pattern}$", near):
        return True
    beside = True  # whether only words have been passed that a negation of any language may pass
    end = len(near)
    for word in reversed(list(_WORD.finditer(near))):
        gap = near[word.end() : end]
        if not _SOFT.fullmatch(gap) or (not gap and not word[0].endswith("-")):
            return False
        one = word[0].strip("-'")
        if one in _NEGATIONS or one.endswith("n't"):
            return True
        if one in _NEGATIONS_BESIDE:
            return beside and "\n" not in gap
        if one not in _FILLERS and one not in _FILLERS_BESIDE:
            return False
        beside = beside and one in _FILLERS_BESIDE
        end = word.start()
    return False
