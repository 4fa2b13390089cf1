"""The task with JSON: what is ordered, how many, whereto and for which day?"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import nouns
import orders_words as words
from wording import WORDINGS, Dice, hurried, with_typos, worded

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "minLength": 1},
        "quantity": {"type": "integer", "minimum": 1},
        "city": {"type": "string", "minLength": 1},
        "day": {"enum": [*nouns.DAYS, None]},
    },
    "required": ["item", "quantity", "city", "day"],
    "additionalProperties": False,
}

STYLES = ("plain",) * 20 + ("aside",) * 40 + ("corrected",) * 25 + ("both",) * 15
DATED = 70
TYPOS = 20
HURRIED = 20

_SETS = {2: "a pair of", 6: "half a dozen", 12: "a dozen"}

Row = dict[str, str]


@dataclass(frozen=True)
class Order:
    """The right answer; a day of None is an order for any day."""

    item: str
    quantity: int
    city: str
    day: str | None

    def answer(self) -> str:
        """Return it as JSON text."""
        return json.dumps(self.__dict__, ensure_ascii=False)


def row(seed: str, *, dated: bool, wording: str) -> Row:
    """Return {message, answer, style, wording}.

    `wording` says from which part every wording, thing, place and name is: one of `WORDINGS`.
    """
    dice = Dice(seed)
    part = WORDINGS.index(wording)
    style = dice.choice(STYLES)
    order = _drawn(dice, part, dated)
    other = _other_than(order, dice, part)
    sentence = _ordered(order, dice, part)
    asides, correction = "", ""
    if style in ("aside", "both"):
        asides = _aside(other, dice, part)
    wanted = order
    if style in ("corrected", "both"):
        field = dice.choice([f for f in words.CORRECTIONS if f != "day" or dated])
        # What replaces it is neither what was said first nor what is said in passing.
        new_order = _other_than(order, dice, part, not_this=other)
        correction = _corrected(field, order, new_order, dice, part)
        wanted = replace(order, **{field: getattr(new_order, field)})
    text = f"{asides} {sentence} {correction}"
    if asides and dice.chance(50):
        text = f"{sentence} {correction} {asides}"
    name = {"name": dice.choice(nouns.NAMES[part])}
    opening = worded(dice.choice(words.OPENINGS[part]), name, dice)
    closing = worded(dice.choice(words.CLOSINGS[part]), name, dice)
    message = " ".join(f"{opening} {text} {closing}".split())
    if dice.chance(TYPOS):
        message = with_typos(message, _not_to_be_mistyped(wanted), dice)
    if dice.chance(HURRIED):
        message = hurried(message, dice)
    return {
        "message": message,
        "answer": wanted.answer(),
        "style": style,
        "wording": wording,
    }


def plural(item: str) -> str:
    """Return the plural of a thing in the list."""
    if item.endswith("knife"):
        return item.removesuffix("fe") + "ves"
    return item + ("es" if item.endswith(("s", "sh", "ch", "x")) else "s")


def _drawn(dice: Dice, part: int, dated: bool) -> Order:
    return Order(
        item=dice.choice(nouns.ITEMS[part]),
        quantity=1 + dice.below(20),
        city=dice.choice(nouns.CITIES[part]),
        day=dice.choice(nouns.DAYS) if dated else None,
    )


def _other_than(order: Order, dice: Dice, part: int, not_this: Order | None = None) -> Order:
    """Return an order that shares nothing with one, or with two."""
    taken = [order, *([not_this] if not_this else [])]
    while True:
        drawn = _drawn(dice, part, dated=True)
        if not any(
            getattr(drawn, field) == getattr(one, field)
            for one in taken
            for field in ("item", "quantity", "city", "day")
        ):
            return drawn


def _ordered(order: Order, dice: Dice, part: int) -> str:
    templates = words.DATED if order.day else words.UNDATED
    slots = {
        "things": _things(order.item, order.quantity, dice),
        "city": order.city,
        "day": order.day or "",
    }
    return _capital(worded(dice.choice(templates[part]), slots, dice))


def _aside(other: Order, dice: Dice, part: int) -> str:
    slots = {
        "a_other_item": _with_article(other.item),
        "other_item": other.item,
        "other_things": _things(other.item, other.quantity, dice),
        "other_city": other.city,
        "other_day": other.day or "",
        "relative": dice.choice(nouns.RELATIVES[part]),
        "number": str(3 + dice.below(40)),
        "order": str(10_000 + dice.below(90_000)),
    }
    return _capital(worded(dice.choice(words.ASIDES[part]), slots, dice))


def _corrected(field: str, order: Order, new_order: Order, dice: Dice, part: int) -> str:
    slots = {
        "old_number": _number(order.quantity, dice),
        "new_number": _number(new_order.quantity, dice),
        "old_city": order.city,
        "new_city": new_order.city,
        "old_day": order.day or "",
        "new_day": new_order.day or "",
        "plural_old_item": plural(order.item),
        "plural_new_item": plural(new_order.item),
        "relative": dice.choice(nouns.RELATIVES[part]),
    }
    return _capital(worded(dice.choice(words.CORRECTIONS[field][part]), slots, dice))


def _things(item: str, quantity: int, dice: Dice) -> str:
    if quantity == 1:
        return _with_article(item) if dice.chance(70) else f"one {item}"
    if quantity in _SETS and dice.chance(50):
        return f"{_SETS[quantity]} {plural(item)}"
    return f"{_number(quantity, dice)} {plural(item)}"


def _number(quantity: int, dice: Dice) -> str:
    return str(quantity) if dice.chance(50) else nouns.NUMBERS[quantity - 1]


def _with_article(item: str) -> str:
    return f"{'an' if item[0] in 'aeiou' else 'a'} {item}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _not_to_be_mistyped(order: Order) -> tuple[str, ...]:
    return (
        order.item,
        plural(order.item),
        order.city,
        order.day or "",
        *nouns.NUMBERS,
        "dozen",
        "half",
    )
