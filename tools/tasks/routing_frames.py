"""What stands around the ask of a message, and misleads: other queues' matters, and greetings.

Each list has a part for every wording of `wording.WORDINGS`.
"""

from __future__ import annotations

from wording import Parts

# Noun phrases for what a message is not about.
TOPICS: dict[str, Parts] = {
    "delivery": (
        [
            "the late parcel",
            "where the {item} is",
            "the courier",
            "the tracking number",
        ],
        [
            "the lost box",
            "the driver",
        ],
        [
            "the postman",
            "the day on which the {item} comes",
            "the carrier's message",
            "the parcel locker",
        ],
    ),
    "returns": (
        [
            "my refund",
            "sending the {item} back",
            "the return label",
            "swapping the {item}",
        ],
        [
            "the money for the {item} I sent back",
            "the exchange",
        ],
        [
            "the return form",
            "the {item} I do not want to keep",
            "being repaid for the {item}",
            "the two weeks for returns",
        ],
    ),
    "billing": (
        [
            "the double charge",
            "the invoice",
            "my declined card",
            "the price of the {item}",
        ],
        [
            "the bill for the {item}",
            "that odd fee",
        ],
        [
            "the reminder to pay",
            "the tax on the {item}",
            "the down payment",
            "the surcharge for cards",
        ],
    ),
    "account": (
        [
            "my password",
            "signing in",
            "my e-mail address",
            "the locked profile",
        ],
        [
            "the login code",
            "my user name",
        ],
        [
            "my login",
            "my security question",
            "registering on your site",
            "the reset mail",
        ],
    ),
    "repair": (
        [
            "the broken {item}",
            "the warranty",
            "the spare part",
            "the noise of the {item}",
        ],
        [
            "the faulty {item}",
            "having the {item} mended",
        ],
        [
            "the workshop",
            "the dent in the {item}",
            "the guarantee claim",
            "the {item} that gave up",
        ],
    ),
    "advice": (
        [
            "how the {item} works",
            "which {item} to buy",
            "the size of the {item}",
            "the manual",
        ],
        [
            "what the {item} can do",
            "cleaning the {item}",
        ],
        [
            "how to set up the {item}",
            "whether the {item} is any good",
            "what to give my {relative}",
            "the signs on the {item}",
        ],
    ),
    "cancel": (
        [
            "cancelling the {item}",
            "my subscription",
            "stopping the order",
            "calling it off",
        ],
        [
            "ending my plan",
            "the order I withdrew",
        ],
        [
            "leaving the club",
            "taking back my order",
            "the trial I want to end",
            "the monthly box I stopped",
        ],
    ),
}

# Things that have been settled: they name a queue and ask for nothing.
SETTLED: dict[str, Parts] = {
    "delivery": (
        [
            "The {item} arrived on {day}, thanks.",
            "The parcel did reach {place} in the end.",
            "Your courier was very kind when he brought the {item}.",
        ],
        [
            "The box with the {item} has turned up.",
            "Shipping to {place} was quick this time.",
        ],
        [
            "The postman has just handed me the {item}.",
            "I got my {item} out of the locker in {place}.",
            "All I was waiting for is in {place} now.",
        ],
    ),
    "returns": (
        [
            "The refund for the {item} is on my card already.",
            "I have sent the {item} back and have my money.",
            "Swapping the {item} went well.",
        ],
        [
            "The money for the {item} I gave back has come.",
            "The return of the {item} is done.",
        ],
        [
            "You took the {item} back without any fuss.",
            "The exchange for the {item} suits me.",
            "Your return form was easy to fill in.",
        ],
    ),
    "billing": (
        [
            "The invoice for the {item} is here and correct.",
            "You have taken off the double charge, good.",
            "I have paid the bill of {amount}.",
        ],
        [
            "My card works again.",
            "The fee of {amount} has been explained to me.",
        ],
        [
            "The reminder to pay has been withdrawn.",
            "You corrected the tax on the bill for the {item}.",
            "I could pay for the {item} without a surcharge.",
        ],
    ),
    "account": (
        [
            "My new password works.",
            "I can sign in again since {day}.",
            "Thanks for changing my e-mail address.",
        ],
        [
            "Logging in is no trouble now.",
            "My profile has the right name by now.",
        ],
        [
            "I have set my security question anew.",
            "The app knows me now and keeps me signed in.",
            "My profile is open again, I see.",
        ],
    ),
    "repair": (
        [
            "The {item} you fixed runs like new.",
            "Your technician mended my {item} on {day}.",
            "The spare part for the {item} fits.",
        ],
        [
            "The warranty paid for the broken {item}.",
            "The {item} no longer makes that noise.",
        ],
        [
            "Your workshop took the dent out of the {item}.",
            "Since your visit the {item} has stopped jamming.",
            "The new cable for my {item} did the trick.",
        ],
    ),
    "advice": (
        [
            "Thanks for telling me how to clean the {item}.",
            "I know now which {item} I need.",
            "The manual for the {item} was what I needed.",
        ],
        [
            "You helped me choose the {item}, and well.",
            "I have understood how the {item} works.",
        ],
        [
            "Your tip about the {item} was right.",
            "I have found out which side of the {item} goes up.",
            "My {relative} was happy with the {item} you advised.",
        ],
    ),
    "cancel": (
        [
            "You have cancelled the {item}, as I asked.",
            "My subscription has ended, thank you.",
            "The order from {day} is off, I saw that.",
        ],
        [
            "Good that the {item} could still be stopped.",
            "My plan has run out as I wished.",
        ],
        [
            "You confirmed that I am out of the club.",
            "The {item} my child ordered was never sent, good.",
            "The trial ended on {day}, as agreed.",
        ],
    ),
}

# {ask} is what the message wants, {topic} and {other} belong to another queue.
DENIED: Parts = (
    [
        "This is not about {topic}. {ask}",
        "{ask} It has nothing to do with {topic}.",
        "No, I am not asking about {topic}. {ask}",
        "Please do not send me to the people for {topic} again. {ask}",
        "Your bot thought I meant {topic}. {ask}",
        "{ask} And no, {topic} is not the matter.",
    ],
    [
        "Leave {topic} aside. {ask}",
        "{ask} You keep answering about {topic}, which I never raised.",
        "Everybody here talks of {topic}, I do not. {ask}",
    ],
    [
        "Please note that {topic} plays no part in this. {ask}",
        "{ask} Your telephone menu took it for {topic}.",
        "To be clear, {topic} does not concern me. {ask}",
        "{ask} My last mail was wrongly filed under {topic}.",
        "You need not look into {topic}. {ask}",
    ],
)
CORRECTED: Parts = (
    [
        "{other} No wait, that has been answered. {ask}",
        "{other} Sorry, wrong window, that is for another shop. {ask}",
        "I meant to write about {topic}, but it has solved itself. {ask}",
        "{ask} My earlier mail about {topic} can be ignored.",
        "My {relative} will write to you about {topic}. For my part: {ask}",
        "Yesterday it was {topic}, and that is done. {ask}",
        "First I wanted to ask: {other} I found out myself. {ask}",
    ],
    [
        "{other} Forget that. {ask}",
        "A colleague of yours is dealing with {topic}. {ask}",
        "{ask} Last week's ticket about {topic} can be closed.",
        "{other} That was my {relative}'s question, and it is answered. Mine: {ask}",
    ],
    [
        "{other} Never mind, my {relative} has seen to it. {ask}",
        "{other} Ah, your page answers that. What I do need: {ask}",
        "I had begun a letter about {topic}, and that has become needless. {ask}",
        "{ask} You may tear up what I wrote about {topic}, that is over.",
        "On the phone I spoke about {topic}, which is in order by now. {ask}",
        "{ask} The following is answered, so skip it: {other}",
    ],
)
OPENINGS: Parts = (
    ["", "", "", "Hello!", "Hi there.", "Good morning.", "Dear team,", "Quick question."],
    ["", "", "Good evening.", "Hey there!", "To whom it may concern."],
    ["", "", "", "Good afternoon.", "Hi all,", "Dear Sir or Madam,", "Greetings."],
)
CLOSINGS: Parts = (
    ["", "", "", "Thanks.", "Regards, {name}", "Order {number}.", "Please answer soon."],
    ["", "", "Best wishes, {name}", "My number is {number}.", "Waiting to hear from you."],
    [
        "",
        "",
        "",
        "Cheers.",
        "Yours, {name}",
        "You find me under {number}.",
        "A short reply is enough.",
    ],
)
