"""The small world that nano models are trained on: questions about animals, and counting."""

from __future__ import annotations

import random

ANIMALS = {
    "fox": ("red", "forest", "run"),
    "owl": ("brown", "barn", "fly"),
    "whale": ("blue", "sea", "sing"),
    "cat": ("grey", "house", "sleep"),
    "frog": ("green", "pond", "jump"),
    "bear": ("black", "mountain", "eat"),
    "swan": ("white", "lake", "swim"),
    "mouse": ("small", "field", "hide"),
    "horse": ("tall", "valley", "run"),
    "crow": ("dark", "tower", "watch"),
    "bee": ("golden", "garden", "work"),
    "goat": ("old", "hill", "climb"),
}
TIMES = ("in the morning", "at noon", "in the evening", "at night", "in the winter", "in the rain")
FOODS = ("berries", "apples", "seeds", "grass", "honey", "bread", "leaves", "corn")
FEELINGS = ("happy", "tired", "brave", "calm", "curious", "hungry")


def _about(animal: str, rng: random.Random) -> str:
    colour, place, verb = ANIMALS[animal]
    first = f"The {animal} is {colour} and lives in the {place}."
    return f"{first} It likes to {verb} {rng.choice(TIMES)}."


def _story(animal: str, rng: random.Random) -> str:
    colour, place, verb = ANIMALS[animal]
    other = rng.choice([a for a in ANIMALS if a != animal])
    lines = [
        f"Once there was a {colour} {animal} in the {place}.",
        f"It met a {ANIMALS[other][0]} {other} and they ate {rng.choice(FOODS)}.",
        f"They liked to {verb} {rng.choice(TIMES)}.",
        f"The {animal} was {rng.choice(FEELINGS)} and the {other} was {rng.choice(FEELINGS)}.",
        f"Then the {other} went back to the {ANIMALS[other][1]}.",
    ]
    return " ".join(lines[: rng.randint(2, 5)])


def _count(first: int, last: int) -> str:
    return ", ".join(str(n) for n in range(first, last + 1)) + "."


def _pairs(rng: random.Random) -> list[tuple[str, str]]:
    """Return every prompt once with a response drawn for it."""
    pairs = []
    for animal, (colour, place, verb) in ANIMALS.items():
        pairs += [
            (f"Tell me about the {animal}.", _about(animal, rng)),
            (f"Where does the {animal} live?", f"The {animal} lives in the {place}."),
            (f"What colour is the {animal}?", f"The {animal} is {colour}."),
            (f"What does the {animal} like to do?", f"It likes to {verb} {rng.choice(TIMES)}."),
            (f"What does the {animal} eat?", f"It eats {rng.choice(FOODS)} in the {place}."),
            (f"Write a story about a {animal}.", _story(animal, rng)),
        ]
        pairs += [
            (f"Write a story about a {feeling} {animal}.", _story(animal, rng))
            for feeling in FEELINGS
        ]
        pairs += [
            (f"What does the {animal} do {time}?", f"It likes to {verb} {time}.") for time in TIMES
        ]
    pairs += [
        (f"Count from {first} to {last}.", _count(first, last))
        for first in range(1, 10)
        for last in range(first + 1, min(first + 14, 21))
    ]
    return pairs


def prompts() -> list[str]:
    """Return all distinct prompts of the nano world (more than 300), shuffled but fixed."""
    texts = [prompt for prompt, _ in _pairs(random.Random(0))]
    random.Random(1).shuffle(texts)
    return texts


def exchanges(count: int, seed: int) -> list[tuple[str, str]]:
    """Return `count` random (prompt, response) pairs."""
    rng = random.Random(seed)
    drawn: list[tuple[str, str]] = []
    while len(drawn) < count:
        drawn += _pairs(rng)
    rng.shuffle(drawn)
    return drawn[:count]
