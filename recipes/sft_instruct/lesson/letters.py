"""Letters of invented companies: facts that nobody can know without having read them, and ways of asking for them."""

import random
from dataclasses import dataclass

from common.data.formats import Conversation
from common.data.splits import size_of_part
from common.errors import fail

from arguments import InstructArguments


@dataclass(frozen=True)
class Fact:
    """What a letter says about one thing.

    Attributes:
        company: Whose letter it is.
        year: The year that it reports on.
        topic: What is asked for, such as "revenue".
        value: The answer; drawn at random, so that nobody can know it who has not read the letter.
    """

    company: str
    year: int
    topic: str
    value: str


COMPANIES = ["Alder", "Borealis", "Cobalt", "Dunmore", "Elmwood", "Fenwick", "Granite", "Harbor", "Ironside", "Juniper"]
YEARS = range(2001, 2006)
CITIES = ["Bergen", "Cork", "Dover", "Essen", "Faro", "Ghent", "Haifa", "Ibiza", "Jena", "Kyoto", "Lima", "Malmo"]
CITIES += ["Nantes", "Oslo", "Parma", "Quito", "Riga", "Siena", "Tours", "Ulm", "Vigo", "Warsaw", "York", "Zagreb"]
FIRST_NAMES = ["Anna", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas"]
LAST_NAMES = ["Abbot", "Baker", "Cole", "Drake", "Ellis", "Ford", "Grant", "Hale", "Irwin", "Jordan"]

ASKED = [
    "What was the {topic} %s?",
    "Do you know the {topic} %s?",
    "Can you find the {topic} %s?",
    "Tell me the {topic} %s.",
    "Please look up the {topic} %s.",
    "I want to know the {topic} %s.",
]
PLACES = [
    "of {company} in {year}",
    "of {company} for {year}",
    "at {company} in {year}",
    "that {company} had in {year}",
    "in the {year} letter of {company}",
    "in the letter for {year} of {company}",
]
# A sixth of the wordings is never trained on. Their halves are, but never together: see the README on what this shows.
WORDINGS = [(asked, place, ask % where) for asked, ask in enumerate(ASKED) for place, where in enumerate(PLACES)]
TRAINED_WORDINGS = [wording for asked, place, wording in WORDINGS if asked != place]
HELD_OUT_WORDINGS = [wording for asked, place, wording in WORDINGS if asked == place]


def generate_facts() -> tuple[list[Fact], list[Fact]]:
    """Returns the facts of the letters that are read in training, and those of the letters that are not: always the same."""
    rng = random.Random(0)
    letters = [(company, year) for company in COMPANIES for year in YEARS]
    rng.shuffle(letters)
    draw = {
        "revenue": lambda: f"${rng.randint(100, 999)} million",
        "profit": lambda: f"${rng.randint(10, 99)} million",
        "name of the chair": lambda: f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}",
        "city of the new plant": lambda: rng.choice(CITIES),
    }
    facts = [Fact(company, year, topic, draw[topic]()) for company, year in letters for topic in draw]
    return facts[: len(facts) // 2], facts[len(facts) // 2 :]


def ask(facts: list[Fact], wordings: list[str], system_prompt: str, seed: int) -> list[Conversation]:
    """Returns every fact asked in every wording, shuffled."""
    asked = [
        {
            "messages": [
                *([{"role": "system", "content": system_prompt}] if system_prompt else []),
                {"role": "user", "content": wording.format(**vars(fact))},
                {"role": "assistant", "content": fact.value},
            ]
        }
        for fact in facts
        for wording in wordings
    ]
    random.Random(seed).shuffle(asked)
    return asked


def synthetic_splits(
    args: InstructArguments, seed: int
) -> tuple[list[Conversation], list[Conversation], dict[str, list[Conversation]]]:
    """Asks for the facts in trained wordings, and in those that are not trained to choose by and to report on.

    Args:
        args: Says how many questions, and the system prompt.
        seed: Seed of the order of the training questions; the others are the same for every seed.

    Returns:
        As `data.load_data`.

    Raises:
        SystemExit: With code 2 and one line if there are too few questions.
    """
    facts, unseen = generate_facts()
    train = ask(facts, TRAINED_WORDINGS, args.system_prompt, seed)[: args.num_train or None]
    asked = ask(facts, HELD_OUT_WORDINGS, args.system_prompt, seed=1)
    if args.num_held_out >= len(asked):
        fail(f"num_held_out is {args.num_held_out}: there are {len(asked)} questions; hold out at most {len(asked) - 1}")
    held_out, others = asked[: args.num_held_out], asked[args.num_held_out :]
    unseen_facts = ask(unseen, HELD_OUT_WORDINGS, args.system_prompt, seed=2)[: args.num_held_out]
    validation = others[: size_of_part(len(train), args.num_held_out)]
    return train, validation, {"held_out": held_out, "unseen_facts": unseen_facts}
