"""Generated pictures with their text: lines of receipts and whole small receipts.

Every picture follows from a few numbers, so none is stored. The words are Faker's (https://faker.readthedocs.io), the fonts
those that matplotlib installs (DejaVu, STIX and Computer Modern, all under free licences).
"""

import math
import random
import string
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from faker import Faker
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Upright letters with and without serifs, of even and of varied width, light and bold.
TRAINED_FONTS = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold", "STIXGeneral", "STIXGeneralBol"]
TRAINED_FONTS += ["cmss10", "cmr10", "cmb10", "cmtt10"]
UNSEEN_FONTS = ["DejaVuSerif", "DejaVuSerif-Bold"]  # upright too, with serifs heavier than those of any trained font
ADAPTATION_FONTS = ["cmti10", "STIXGeneralItalic", "STIXGeneralBolIta"]  # italics, for a LoRA adapter to learn

# What every font above draws as itself: Computer Modern has other signs in the places of quotes, < and >, its italic also of $.
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


# --- Text ---------------------------------------------------------------------------------------------------------------


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


# --- Pictures -----------------------------------------------------------------------------------------------------------


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Returns one of matplotlib's fonts, without the ligatures of Pillow's other layout engine."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _font_of_height(name: str, characters: str, height: int) -> tuple[ImageFont.FreeTypeFont, int, int]:
    """Returns the largest font of which no character needs more than `height` pixels, and where they begin and end."""
    for size in range(2 * height, 5, -1):  # the same size is not the same height in all fonts
        font = load_font(name, size)
        _, top, _, bottom = font.getbbox(characters)
        if bottom - top <= height:
            break
    return font, top, bottom


def _photograph(ink: Image.Image, rng: random.Random, strength: float) -> Image.Image:
    """Returns paper with the ink that a gray picture shows in white, turned, blurred, unevenly lit and noisy."""
    width, height = ink.size
    if strength > 0:
        # Turned by 3 degrees a long line would leave its picture: it rises by a fifth of its height at most.
        most = min(3.0, math.degrees(math.atan2(0.2 * height, width))) if width > height else 2.0
        turned = ink.rotate(rng.uniform(-most, most) * strength, Image.Resampling.BICUBIC, expand=True)
        ink = turned.resize((max(1, round(turned.width * height / turned.height)), height), Image.Resampling.BICUBIC)
        ink = ink.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8) * strength))
    noise = np.random.default_rng(rng.getrandbits(32))
    paper = 255 - strength * (noise.uniform(0, 50) + noise.uniform(-10, 10, size=3))
    color = strength * (noise.uniform(0, 80) + noise.uniform(-15, 15, size=3))
    covered = np.asarray(ink, dtype=np.float32)[..., None] / 255
    picture = paper * (1 - covered) + color * covered
    across, down = noise.uniform(-0.15, 0.15, size=2) * strength
    rows, columns = np.linspace(-1, 1, ink.height)[:, None, None], np.linspace(-1, 1, ink.width)[None, :, None]
    picture = picture * (1 + across * columns + down * rows)
    picture += noise.normal(0, noise.uniform(0, 10) * strength, size=(*picture.shape[:2], 1))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def render_line(text: str, rng: random.Random, font: str, *, height: int = 28, strength: float = 1.0) -> Image.Image:
    """Draws one line of text.

    Args:
        text: Made of `CHARACTERS`.
        rng: Where the chance of position, size, colors and noise comes from.
        font: A name in one of the lists of fonts.
        height: Height of the picture in pixels; its width follows from the text.
        strength: How bad the photograph is: 0 is black print on white paper, 1 what a hand-held camera sees.
    """
    # Sized and placed by the characters that there may be, not by those of this text: a dash stays where it is in a line.
    characters = PLAIN_CHARACTERS if set(text) <= set(PLAIN_CHARACTERS) else CHARACTERS
    letters = round((height - 2) * (1 - rng.uniform(0, 0.15) * strength))
    chosen, top, bottom = _font_of_height(font, characters, letters)
    left, _, right, _ = chosen.getbbox(text)
    margin, above = height // 7 + round(rng.uniform(0, 0.3) * strength * height), (height - (bottom - top)) // 2
    ink = Image.new("L", (right - left + 2 * margin, height))
    # Whole pixels: Pillow cuts a row or a column off letters that are placed between two.
    place = [round(room * (1 + rng.uniform(-0.5, 0.5) * strength)) for room in (margin, above)]
    ImageDraw.Draw(ink).text((place[0] - left, place[1] - top), text, 255, chosen)
    return _photograph(ink, rng, strength)


def render_receipt(
    lines: list[tuple[str, str]], rng: random.Random, font: str, *, height: int = 28, strength: float = 1.0
) -> Image.Image:
    """Draws a receipt, what is on the right of its lines flush with the right edge; see `render_line` for the arguments.

    Args:
        lines: What `draw_receipt` returned.
        rng: Where the chance of colors and noise comes from.
        font: A name in one of the lists of fonts.
        height: Height of a line in pixels.
        strength: How bad the photograph is.
    """
    chosen, _, _ = _font_of_height(font, CHARACTERS, height - 2)
    widths = [chosen.getlength(left) + (chosen.getlength(right) + height if right else 0) for left, right in lines]
    width = math.ceil(max(widths))
    ink = Image.new("L", (width + 2 * height, height * (len(lines) + 1)))
    draw = ImageDraw.Draw(ink)
    is_centered = rng.random() < 0.5
    for number, (left, right) in enumerate(lines):
        start = round((width - widths[number]) / 2) if is_centered and not right else 0
        draw.text((height + start, height * number + height // 2), left, 255, chosen)
        draw.text((height + width - math.ceil(chosen.getlength(right)), height * number + height // 2), right, 255, chosen)
    return _photograph(ink, rng, strength)


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn when it is needed.

    Attributes:
        lines: Of a receipt, as `draw_receipt` returns them, or the text of one line.
        font: A name in one of the lists of fonts.
        seed: Decides position, size, colors and noise.
        height: Height of a line in pixels.
        strength: How bad the photograph is.
    """

    lines: str | list[tuple[str, str]]
    font: str
    seed: int
    height: int = 28
    strength: float = 1.0

    def open(self) -> Image.Image:
        render = render_line if isinstance(self.lines, str) else render_receipt
        return render(self.lines, random.Random(self.seed), self.font, height=self.height, strength=self.strength)
