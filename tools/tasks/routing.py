"""The task with labels: into which queue of a shop's support does a message go?"""

from __future__ import annotations

import nouns
import routing_words as words
from wording import Dice, hurried, with_typos, worded

QUEUES = tuple(words.ASKS)
# How a message misleads, and how many of a hundred do so.
STYLES = ("plain",) * 16 + ("settled",) * 28 + ("denied",) * 24 + ("corrected",) * 32
TYPOS = 25
HURRIED = 20

Row = dict[str, str]


def row(queue: str, seed: str, *, new: bool) -> Row:
    """Return {message, queue, style, wording}.

    `new` takes every wording, thing, place and name from the part that training never sees.
    """
    dice = Dice(seed)
    part = int(new)
    style = dice.choice(STYLES)
    other = dice.choice([name for name in QUEUES if name != queue])
    slots = _slots(dice, part)
    ask = worded(dice.choice(words.ASKS[queue][part]), slots, dice)
    text = _placed(style, ask, other, dice, part)
    opening = worded(dice.choice(words.OPENINGS[part]), slots, dice)
    closing = worded(dice.choice(words.CLOSINGS[part]), slots, dice)
    message = " ".join(f"{opening} {text} {closing}".split())
    if dice.chance(TYPOS):
        message = with_typos(message, (), dice)
    if dice.chance(HURRIED):
        message = hurried(message, dice)
    return {
        "message": message,
        "queue": queue,
        "style": style,
        "wording": "new" if new else "known",
    }


def _placed(style: str, ask: str, other: str, dice: Dice, part: int) -> str:
    """Return the ask among what another queue's words say."""
    # The other matter has things and days of its own.
    slots = _slots(dice, part)
    if style == "plain":
        return ask
    if style == "settled":
        settled = worded(dice.choice(words.SETTLED[other][part]), slots, dice)
        return f"{settled} {ask}" if dice.chance(70) else f"{ask} {settled}"
    frames = words.DENIED if style == "denied" else words.CORRECTED
    filled = {
        "ask": ask,
        "topic": worded(dice.choice(words.TOPICS[other][part]), slots, dice),
        "other": worded(dice.choice(words.ASKS[other][part]), slots, dice),
        "relative": slots["relative"],
    }
    return worded(dice.choice(frames[part]), filled, dice)


def _slots(dice: Dice, part: int) -> dict[str, str]:
    return {
        "item": dice.choice(nouns.ITEMS[part]),
        "place": dice.choice(nouns.CITIES[part]),
        "name": dice.choice(nouns.NAMES[part]),
        "relative": dice.choice(nouns.RELATIVES[part]),
        "day": dice.choice(nouns.DAYS),
        "amount": f"{3 + dice.below(90)}.{dice.choice(('00', '50', '90', '99'))}",
        "number": str(10_000 + dice.below(90_000)),
    }
