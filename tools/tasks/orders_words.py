"""What people write who order something to be brought to them.

`{things}` is a number with a thing ("two desk lamps"), `{city}` and `{day}` are where and when.
Each list has a part for training and a part that only held-out rows use.
"""

from __future__ import annotations

# With a day, and without one.
DATED = (
    [
        "[Please send|Send] {things} to {city} on {day}.",
        "I'd like {things}, [delivery|to be delivered] on {day} in {city}.",
        "{things} for our [office|shop] in {city}, {day} if [possible|you can].",
        "Can you bring {things} to my flat in {city}? {day} [suits me|is best].",
        "Put me down for {things}. {city}, {day}.",
        "We need {things} [by|on] {day}; the address is in {city}.",
        "On {day} I will be in {city} and would like {things} [there|by then].",
        "[Order|Could I order] {things}, please. It is for {day}, and goes to {city}.",
        "My mother in {city} would love {things}. {day} is her birthday.",
        "For {day}: {things}, [shipped|sent] to {city}.",
        "How about {things} for {city}? I am at home on {day}.",
        "{city} is where we live, {day} is when we are in, and {things} is what we want.",
    ],
    [
        "Let {things} be in {city} on {day}.",
        "Our {city} branch has run out, so ship {things} there for {day}.",
        "{day}, {city}, {things}: can you do that?",
        "Somebody in {city} will wait on {day} for {things}.",
        "Would you have {things} ready in {city} when I come by on {day}?",
        "I am moving to {city}. On {day} I could do with {things}.",
    ],
)
UNDATED = (
    [
        "[Please send|Send] {things} to {city}.",
        "I'd like {things} in {city}, [any day|no hurry].",
        "{things} for our [office|shop] in {city}.",
        "Can you bring {things} to my flat in {city}?",
        "Put me down for {things}. {city}, whenever you can.",
        "We need {things}; the address is in {city}.",
    ],
    [
        "Let {things} go out to {city}, the date does not matter.",
        "Our {city} branch has run out, so ship {things} there.",
        "{city}, {things}: can you do that?",
    ],
)
# Said in passing: none of it belongs in the order.
ASIDES = (
    [
        "I already have {a_other_item}.",
        "The {other_item} [from last time|I had before] was fine.",
        "Not the {other_item} again, please.",
        "Last year it was {other_things}.",
        "I live in {other_city} [myself|most of the time].",
        "Not to {other_city}, as it was last time.",
        "You can ring me at work in {other_city}.",
        "I heard of you from a friend in {other_city}.",
        "I am away on {other_day}.",
        "Your shop was closed on {other_day}.",
        "I saw {other_things} in {other_city}, but those are not for me.",
        "We are {number} people here.",
        "My order number is {order}.",
    ],
    [
        "My {relative} bought {a_other_item} from you.",
        "Your people in {other_city} could not help me.",
        "I have {other_things} in the cellar.",
        "On {other_day} nobody picked up the phone.",
        "A {relative} in {other_city} pays for it.",
        "I asked for {a_other_item} first and was told there is none.",
        "It took {number} days last time.",
    ],
)
# One thing is changed afterwards; the words after the slots name which.
CORRECTIONS = {
    "quantity": (
        [
            "Sorry, make that {new_number}.",
            "On second thought, {new_number} will do.",
            "No, {new_number} [please|of them].",
            "I counted again: {new_number}, not {old_number}.",
        ],
        [
            "Did I say {old_number}? I need {new_number}.",
            "My {relative} says {new_number} is enough.",
        ],
    ),
    "city": (
        [
            "Sorry, not {old_city}, I mean {new_city}.",
            "Please change {old_city} to {new_city}.",
            "No, wait: {new_city} [instead|is the right place].",
            "We have moved from {old_city} to {new_city}, so use that.",
        ],
        [
            "Scratch {old_city}, it has to be {new_city}.",
            "I wrote {old_city} out of habit, {new_city} is correct.",
        ],
    ),
    "day": (
        [
            "{old_day} is bad after all, take {new_day}.",
            "Could it be {new_day} rather than {old_day}?",
            "Oh, I am out then. {new_day} [instead|works].",
            "Let us say {new_day}.",
        ],
        [
            "I mixed up my dates, {new_day} it is.",
            "Nobody is in on {old_day}, so {new_day}.",
        ],
    ),
    "item": (
        [
            "No, not {plural_old_item}: {plural_new_item}, the same number.",
            "I mean {plural_new_item}, not {plural_old_item}.",
            "Sorry, wrong word: {plural_new_item}.",
        ],
        [
            "Did I write {plural_old_item}? What I am after is {plural_new_item}.",
            "Swap the {plural_old_item} for {plural_new_item}, as many.",
        ],
    ),
}
OPENINGS = (
    ["", "", "", "Hello!", "Hi.", "Good morning.", "{name} here."],
    ["", "", "Hey there!", "Good evening.", "This is {name}."],
)
CLOSINGS = (
    ["", "", "", "Thanks.", "Thank you, {name}", "Regards, {name}"],
    ["", "", "Many thanks.", "Best, {name}"],
)
