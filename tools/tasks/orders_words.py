"""What people write who order something to be brought to them.

`{things}` is a number with a thing ("two desk lamps"), `{city}` and `{day}` are where and when.
Each list has a part for every wording of `wording.WORDINGS`.
"""

from __future__ import annotations

from wording import Parts

# With a day, and without one.
DATED: Parts = (
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
    [
        "Kindly have {things} brought to {city}, [ideally|and do it] on {day}.",
        "I run a [guest house|bakery] in {city} and want {things} by {day}.",
        "Where: {city}. When: {day}. What: {things}.",
        "Is it possible to get {things} [over|round] to {city} on {day}?",
        "{things} should reach {city} on {day}, please.",
        "We are opening in {city} on {day} and still lack {things}.",
        "Our cottage in {city} is short of {things}, and {day} is when we arrive.",
        "{day} would be a good day to bring {things} to us in {city}.",
        "If you drive to {city} on {day}, take {things} along for me.",
        "A parcel for {city} with {things}, [wanted|due] {day}.",
        "I will take {things}; the porter in {city} expects you on {day}.",
    ],
)
UNDATED: Parts = (
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
    [
        "Kindly have {things} brought to {city}.",
        "I run a [guest house|bakery] in {city} and want {things}.",
        "Where: {city}. When: [open|as you like]. What: {things}.",
        "{things} should go to {city}, and you choose the date.",
        "Next time you drive to {city}, take {things} along for me.",
        "A parcel for {city} with {things}, please.",
    ],
)
# Said in passing: none of it belongs in the order.
ASIDES: Parts = (
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
    [
        "The {other_item} in your window is lovely, but I can do without it.",
        "A year ago I had {a_other_item} from you and gave it away.",
        "Nobody here would use {a_other_item}.",
        "Your flyer offers {other_things}; that is not for me.",
        "{other_city} was my home for {number} years.",
        "My {relative} has a shop in {other_city}.",
        "The bill goes to our head office in {other_city}.",
        "I write this on the train to {other_city}.",
        "It was {other_day} when I last tried to ring you.",
        "On {other_day} I read about you in the paper.",
        "My {relative} once had {other_things} from you and was happy.",
        "We have been customers for {number} years.",
        "I am customer {order}, in case it helps.",
    ],
)
# One thing is changed afterwards; the words after the slots name which.
CORRECTIONS: dict[str, Parts] = {
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
        [
            "Better take {new_number} of them.",
            "The number is wrong, it should be {new_number}.",
            "We have talked it over: {new_number} in all.",
            "Please write {new_number} where I wrote {old_number}.",
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
        [
            "The town is wrong, {new_city} is where it goes.",
            "{old_city} was last year's address, today it is {new_city}.",
            "I confused two of our offices: it goes to {new_city}.",
            "{old_city} is too far for you? Then {new_city}, where I work.",
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
        [
            "The day is wrong, {new_day} is right.",
            "Move the date to {new_day}, please.",
            "My calendar says {new_day}, not {old_day}.",
            "I see that {old_day} is a holiday; {new_day} then.",
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
        [
            "The thing is wrong: I want {plural_new_item}, just as many.",
            "I mistook the name: no {plural_old_item} but {plural_new_item}.",
            "On reflection {plural_new_item}, as many as I said, and no {plural_old_item}.",
            "My {relative} says it is {plural_new_item} that we need, not {plural_old_item}.",
        ],
    ),
}
OPENINGS: Parts = (
    ["", "", "", "Hello!", "Hi.", "Good morning.", "{name} here."],
    ["", "", "Hey there!", "Good evening.", "This is {name}."],
    ["", "", "", "Good afternoon.", "Hi all.", "{name} writing.", "Greetings."],
)
CLOSINGS: Parts = (
    ["", "", "", "Thanks.", "Thank you, {name}", "Regards, {name}"],
    ["", "", "Many thanks.", "Best, {name}"],
    ["", "", "", "Cheers.", "Yours, {name}", "That is all."],
)
