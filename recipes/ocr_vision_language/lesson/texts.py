"""What is written in generated pictures: lines of receipts, random codes, and whole small receipts.

The words are Faker's (https://faker.readthedocs.io).
"""

import random
import string
import zlib
from functools import cache

from faker import Faker

# What every font of render.py draws as itself: Computer Modern has other signs for quotes, < and >, its italic also for $.
CHARACTERS = string.ascii_letters + string.digits + " .,:;/-&()#%*+@!?"
PLAIN_CHARACTERS = string.ascii_uppercase + string.digits + " .:/-"
CODE_CHARACTERS = sorted({*string.ascii_uppercase, *string.digits} - {*"OI"})  # as in real codes: O and I are read as 0 and 1

LOCALES = ["cs_CZ", "de_DE", "en_GB", "en_IN", "en_US", "es_ES", "fi_FI", "fr_FR", "id_ID", "it_IT", "nl_NL", "pt_PT", "sv_SE"]
FORMS = ["Ltd", "Inc", "LLC", "GmbH", "Trading", "Market", "Stores", "Cafe", "Bakery", "Foods", "Hardware", "Pharmacy", "Books"]
STREETS = ["Street", "Road", "Avenue", "Lane", "Drive", "Court", "Square", "Way", "St", "Rd", "Ave"]
TOTALS = [
    "Total",
    "Subtotal",
    "Cash",
    "Change",
    "Tax",
    "Discount",
    "Amount",
    "Balance",
    "Net",
    "Rounding",
    "Total RM",
    "Total EUR",
]
PHONES = ["Tel", "Phone", "Fax", "Tel No", "Mobile"]
DATES = ["{d:02}/{m:02}/{y}", "{d:02}-{m:02}-{y}", "{d}.{m}.{y}", "{y}-{m:02}-{d:02}", "{d:02}/{m:02}/{s:02}", "{d} {name} {y}"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def is_held_out(text: str) -> bool:
    """Returns whether a text is kept out of training: one in eight is, whoever draws it and in whichever case."""
    return zlib.crc32(text.upper().encode()) % 8 == 0


@cache
def vocabulary() -> dict[str, list[str]]:
    """Returns Faker's `words`, `names` and `cities` of all the locales, 30,000 in all: too many to guess instead of reading."""
    found = {"words": set(), "names": set(), "cities": set()}
    for locale in LOCALES:
        faker = Faker(locale)
        people, places = (faker.provider(f"faker.providers.{name}") for name in ("person", "address"))
        found["words"] |= {word.capitalize() for word in faker.get_words_list()}
        found["names"] |= {*people.first_names, *people.last_names}
        found["cities"] |= {*getattr(places, "cities", ())}  # not every locale lists them
    return {kind: sorted(word for word in words if word.isascii() and word.isalpha()) for kind, words in found.items()}


def draw_part(kind: str, rng: random.Random) -> str:
    """Draws one of the things that stand in a line of a receipt."""
    pick, number = rng.choice, rng.randint

    def word(*kinds: str) -> str:
        return pick(vocabulary()[pick(kinds)])

    def digits(count: int) -> str:
        return str(rng.randrange(10**count)).zfill(count)

    day, month, year = number(1, 28), number(1, 12), number(2000, 2029)
    return {
        "word": lambda: word("words", "names", "cities"),
        "thing": lambda: " ".join(word("words") for _ in range(number(1, 2))),
        "amount": lambda: f"{rng.randrange(10 ** number(1, 4))}.{digits(2)}",
        "item": lambda: f"{number(1, 12)} {draw_part('thing', rng)} {draw_part('amount', rng)}",
        "total": lambda: f"{pick(TOTALS)}{pick([' ', ': '])}{draw_part('amount', rng)}",
        "date": lambda: pick(DATES).format(d=day, m=month, y=year, s=year % 100, name=MONTHS[month - 1]),
        "time": lambda: f"{rng.randrange(24):02}:{rng.randrange(60):02}" + pick(["", f":{rng.randrange(60):02}"]),
        "company": lambda: " & ".join(word("names") for _ in range(pick([1, 1, 1, 2]))) + f" {pick(FORMS)}",
        "street": lambda: f"{number(1, 299)} {word('names', 'cities')} {pick(STREETS)}",
        "city": lambda: f"{number(1000, 99999)} {word('cities')}",
        "phone": lambda: f"{pick(PHONES)}: {pick([' ', '-']).join(map(digits, pick([(2, 4, 4), (3, 3, 4), (3, 4), (5, 6)])))}",
    }[kind]()


KINDS = ["item", "item", "word", "word", "thing", "total", "amount", "date", "time", "company", "street", "city", "phone"]


def _code(rng: random.Random, shortest: int, longest: int) -> str:
    length = rng.randint(shortest, max(shortest, min(longest, 12)))
    code = rng.choices(CODE_CHARACTERS, k=length)
    if length > 4 and rng.random() < 0.5:
        code[rng.randint(2, length - 3)] = rng.choice("-/.:")
    return "".join(code)


def draw_text(
    rng: random.Random,
    *,
    held_out: bool,
    characters: str = CHARACTERS,
    shortest: int = 3,
    longest: int = 32,
    code_share: float = 0.25,
) -> str:
    """Draws the text of one line of a receipt, or a random code, which only a reader of letters gets right.

    Args:
        rng: Where the chance comes from.
        held_out: Draw one of the texts that are kept out of training, instead of the others.
        characters: The only characters used; without lower case among them all is in capitals.
        shortest: Fewest characters.
        longest: Most characters, at least 2.
        code_share: Share of random codes.
    """
    is_code = rng.random() < code_share
    while True:
        # A second chance, or narrow limits that no other kind of line meets would be searched for ever.
        text = _code(rng, shortest, longest) if is_code or rng.random() < 0.02 else draw_part(rng.choice(KINDS), rng)
        if rng.random() < 0.5 or not any(character.islower() for character in characters):
            text = text.upper()
        if shortest <= len(text) <= longest and is_held_out(text) == held_out and set(text) <= set(characters):
            return text


def draw_receipt(rng: random.Random, *, held_out: bool) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Draws what is printed on a small receipt: company, address, date, up to four things bought, and their total.

    Args:
        rng: Where the chance comes from.
        held_out: Draw one of the receipts that are kept out of training (their whole text decides), instead of the others.

    Returns:
        The lines, each with what is on the left and on the right of it (one of them may be empty), and the four fields of
        SROIE (Huang et al. 2019, arXiv:2103.10213): `company`, `address`, `date` and `total`.
    """
    while True:
        case = rng.choice([str, str.upper])
        company, street, city, date = (case(draw_part(kind, rng)) for kind in ("company", "street", "city", "date"))
        prices = [rng.randrange(50, 5000) for _ in range(rng.randint(1, 4))]
        total = f"{sum(prices) / 100:.2f}"
        lines = [(company, ""), (f"{street},", ""), (city, ""), (case("Date: ") + date, draw_part("time", rng))]
        lines += [(f"{rng.randint(1, 9)} {case(draw_part('thing', rng))}", f"{price / 100:.2f}") for price in prices]
        lines += [(case(rng.choice(["Total", "Total:", "Total RM", "Amount due"])), total)]
        if is_held_out(receipt_text(lines)) == held_out:
            return lines, {"company": company, "address": f"{street}, {city}", "date": date, "total": total}


def receipt_text(lines: list[tuple[str, str]]) -> str:
    """Returns the transcription of a receipt: its lines, the two sides of each joined by a space."""
    return "\n".join(f"{left} {right}".strip() for left, right in lines)
