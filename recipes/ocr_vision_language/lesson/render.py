"""Generated pictures of texts: lines, and whole small receipts.

Every picture follows from a few numbers, so none is stored. The fonts are those that matplotlib installs (DejaVu, STIX and
Computer Modern, all under free licences).
"""

import math
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lesson.texts import CHARACTERS, PLAIN_CHARACTERS

# Upright letters with and without serifs, of even and of varied width, light and bold.
TRAINED_FONTS = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold", "STIXGeneral", "STIXGeneralBol"]
TRAINED_FONTS += ["cmss10", "cmr10", "cmb10", "cmtt10"]
UNSEEN_FONTS = ["DejaVuSerif", "DejaVuSerif-Bold"]  # upright too, with serifs heavier than those of any trained font
ADAPTATION_FONTS = ["cmti10", "STIXGeneralItalic", "STIXGeneralBolIta"]  # italics, for a LoRA adapter to learn


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
