"""Generated pictures of till receipts' lines: thermal print, narrow and wide, faint and smeared, cut out of a photograph.

They are what a reader of real receipts is pretrained on; the texts are those of till.py.
"""

import random
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lesson.render import load_font
from lesson.texts import CHARACTERS

# Beside matplotlib's fonts Pillow's own two: Aileron, and one of dots, which enlarged looks like the print of needles. Those of
# which most tills have something similar stand here twice.
SANS = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold", "Aileron", "dots"]
COMPUTER_MODERN = ["cmss10", "cmtt10"]  # which have other signs in some places: see `texts.CHARACTERS`
THERMAL_FONTS = [*SANS, *SANS, *COMPUTER_MODERN, "STIXGeneral", "STIXGeneralBol"]


@cache
def _load(name: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if name == "dots":
        return ImageFont.load_default_imagefont()
    return ImageFont.load_default(36) if name == "Aileron" else load_font(name, 36)


def _ink(text: str, rng: random.Random, font: str) -> Image.Image:
    """Returns the ink of a line in white, cut out as close as a box on a receipt is, at the font's own size."""
    chosen = _load(font)
    _, top, right, bottom = chosen.getbbox("H")
    unit = chosen.getlength("0")
    # Tills set digits and capitals apart, some twice as far, and wide spaces between columns are one in the transcription.
    apart = rng.choice([0, 0, rng.uniform(-0.05, 0.5)]) * unit
    space = rng.choice([1, 1, 1, rng.uniform(0.6, 3)])
    steps = [chosen.getlength(character) * (space if character == " " else 1) + apart for character in text]
    ink = Image.new("L", (int(sum(steps)) + 4 * right, 3 * bottom))
    draw, place = ImageDraw.Draw(ink), float(right)
    if apart == 0 and space == 1:
        draw.text((right, bottom), text, 255, chosen)  # kerned
    else:
        for character, step in zip(text, steps, strict=True):
            draw.text((round(place), bottom), character, 255, chosen)
            place += step
    left, above, end, below = ink.getbbox() or (0, 0, right, bottom)
    # A letter without a stroke up or down is not made as high as one with both; the font of dots has its letters within a box.
    capital = (bottom + 2, 2 * bottom - 2) if font == "dots" else (bottom + top, 2 * bottom)
    return ink.crop((left, min(above, capital[0]), end, max(below, capital[1])))


def render_thermal(text: str, rng: random.Random, font: str, *, height: int = 32, strength: float = 1.0) -> Image.Image:
    """Draws one line as it is cut out of a photographed or scanned receipt.

    Args:
        text: Made of `till.THERMAL_CHARACTERS`.
        rng: Where the chance of shape, wear, light and noise comes from.
        font: One of `THERMAL_FONTS`, or another of matplotlib's; Computer Modern's have not all of the characters.
        height: Height of the picture in pixels; its width follows from the text.
        strength: How worn the print is and how bad the light: 0 is a new one.

    Returns:
        A gray picture.
    """
    ink = _ink(text, rng, font)
    letters = round(height * (0.85 + rng.uniform(-0.15, 0.15) * strength))
    # On receipts a letter is 0.4 to 1 times as wide as the line is high, and most often half.
    width = max(3, round(ink.width * letters / ink.height * 2 ** (rng.uniform(-1, 0.2) * strength)))
    if rng.random() < 0.5 * strength and font != "dots":
        ink = ink.filter(rng.choice([ImageFilter.MaxFilter(3), ImageFilter.MaxFilter(3), ImageFilter.MinFilter(3)]))
    ink = ink.resize((width, letters), Image.Resampling.BICUBIC)
    left, right = (rng.randint(0, 5) for _ in range(2))
    slack = height - letters
    place = round(slack * (0.5 + rng.uniform(-0.7, 0.7) * strength))  # some boxes cut a row off
    paper = Image.new("L", (width + left + right, height))
    paper.paste(ink, (left, place))
    if rng.random() < 0.5 * strength:
        rise = rng.uniform(-0.12, 0.12) * height / paper.width
        lean = rng.uniform(-0.08, 0.08)
        shape = (1, lean, -lean * height / 2, rise, 1, -rise * paper.width / 2)
        paper = paper.transform(paper.size, Image.Transform.AFFINE, shape, Image.Resampling.BILINEAR)
    paper = paper.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.1) * strength))
    noise = np.random.default_rng(rng.getrandbits(32))
    covered = np.asarray(paper, dtype=np.float32) / 255
    if rng.random() < 0.4 * strength:  # faint in places, as where the head of the printer is worn or the paper was rubbed
        spots = Image.fromarray(noise.integers(0, 256, size=(4, 2 + paper.width // 8), dtype=np.uint8))
        spots = np.asarray(spots.resize(paper.size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
        covered = covered * (1 - noise.uniform(0.2, 1) * strength * np.clip(2 * spots - 0.6, 0, 1))
    if rng.random() < 0.2 * strength:  # a row of dots that does not print
        covered[noise.integers(0, height)] *= noise.uniform(0, 0.6)
    white, black = 255 - strength * noise.choice([0, 10, 90]) * noise.uniform(), strength * noise.uniform(0, 130)
    picture = white + (black - white) * covered
    picture += noise.normal(0, noise.uniform(0, 8) * strength, size=picture.shape)
    picture = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.5 * strength:
        file = BytesIO()
        picture.save(file, "JPEG", quality=rng.randint(15, 70))
        picture = Image.open(file)
        picture.load()
    return picture


def font_for(text: str, rng: random.Random, fonts: list[str]) -> str:
    """Returns one of the fonts that have all the characters of a text."""
    return rng.choice([font for font in fonts if font not in COMPUTER_MODERN or set(text) <= set(CHARACTERS)])


@dataclass(frozen=True)
class ThermalLine:
    """A line of thermal print that is drawn when it is needed; see `render.Picture`."""

    text: str
    font: str
    seed: int
    height: int = 32
    strength: float = 1.0

    def open(self) -> Image.Image:
        return render_thermal(self.text, random.Random(self.seed), self.font, height=self.height, strength=self.strength)
