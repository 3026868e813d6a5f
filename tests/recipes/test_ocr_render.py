"""The generated pictures of ocr_vision_language: what is written in them, in which fonts, and that they are always the same."""

import hashlib
import random
import string
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from conftest import ROOT, recipe_modules
from fontTools import agl
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw


@pytest.fixture(scope="module")
def render():
    """The two modules that make pictures, as one."""
    with recipe_modules("ocr_vision_language", ["lesson.texts", "lesson.render"]) as modules:
        yield SimpleNamespace(**vars(modules["texts"]) | vars(modules["render"]))


def fonts(render) -> list[str]:
    return render.TRAINED_FONTS + render.UNSEEN_FONTS + render.ADAPTATION_FONTS


def draw(render, count: int, **settings) -> list[str]:
    rng = random.Random(0)
    return [render.draw_text(rng, **({"held_out": False} | settings)) for _ in range(count)]


def ink(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 128


def test_every_font_draws_every_character_as_itself(render):
    for font in fonts(render):
        path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
        names = TTFont(path).getBestCmap()
        assert {agl.toUnicode(names[ord(character)]) for character in render.CHARACTERS} == set(render.CHARACTERS), font
        drawn = set()
        for character in render.CHARACTERS.replace(" ", ""):
            picture = Image.new("L", (80, 80))
            ImageDraw.Draw(picture).text((20, 20), character, 255, render.load_font(font, 40))
            drawn.add(picture.tobytes())
        assert len(drawn) == len(render.CHARACTERS) - 1, f"{font} draws two characters alike, or one of them not at all"
        assert render.load_font(font, 40).getlength(" ") > 5, font


def test_the_lists_of_fonts_share_no_font(render):
    assert len(set(fonts(render))) == len(fonts(render)) == 15
    # Nor is another weight of an unseen font trained.
    designs = [{name.partition("-")[0] for name in names} for names in (render.TRAINED_FONTS, render.UNSEEN_FONTS)]
    assert not designs[0] & designs[1]


def test_held_out_texts_are_never_drawn_for_training(render):
    train, held_out = draw(render, 4000), draw(render, 500, held_out=True)
    assert not {text.upper() for text in train} & {text.upper() for text in held_out}
    assert all(render.is_held_out(text) for text in held_out)
    assert not any(render.is_held_out(text) for text in train)
    assert render.is_held_out("Total 1.20") == render.is_held_out("TOTAL 1.20")
    shares = [render.is_held_out(f"{number}.00") for number in range(8000)]
    assert 0.11 < sum(shares) / len(shares) < 0.14


def test_texts_are_varied_and_within_their_limits(render):
    texts = draw(render, 4000)
    assert len(set(texts)) > 3900
    assert all(3 <= len(text) <= 32 for text in texts)
    assert set("".join(texts)) <= set(render.CHARACTERS)
    assert set("".join(texts)) >= set(string.ascii_letters + string.digits)
    plain = draw(render, 4000, characters=render.PLAIN_CHARACTERS, shortest=4, longest=10)
    assert set("".join(plain)) <= set(render.PLAIN_CHARACTERS)
    assert {len(text) for text in plain} == set(range(4, 11))
    codes = [text for text in plain if any(c.isdigit() for c in text) and any(c.isalpha() for c in text) and " " not in text]
    assert 0.15 < len(codes) / len(plain) < 0.35
    # A commonest text would be worth guessing.
    assert max(map(plain.count, set(plain))) < 20


def test_narrow_limits_are_met(render):
    assert {len(text) for text in draw(render, 50, shortest=4, longest=4)} == {4}
    assert {len(text) for text in draw(render, 20, shortest=40, longest=40)} == {40}


def test_pictures_are_the_same_in_every_process(render):
    program = (
        "import hashlib, random; from lesson import render, texts as words; rng = random.Random(7); "
        "texts = [words.draw_text(rng, held_out=False) for _ in range(200)]; "
        "lines, fields = words.draw_receipt(rng, held_out=True); "
        "pictures = [render.Picture(text, render.TRAINED_FONTS[3], 5).open().tobytes() for text in texts[:20]]; "
        "pictures += [render.Picture(lines, render.TRAINED_FONTS[0], 6).open().tobytes()]; "
        "print(hashlib.sha256(repr((texts, lines, fields)).encode() + b''.join(pictures)).hexdigest())"
    )
    folder = ROOT / "recipes" / "ocr_vision_language"
    runs = [
        subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    rng = random.Random(7)
    texts = [render.draw_text(rng, held_out=False) for _ in range(200)]
    lines, fields = render.draw_receipt(rng, held_out=True)
    pictures = [render.Picture(text, render.TRAINED_FONTS[3], 5).open().tobytes() for text in texts[:20]]
    pictures += [render.Picture(lines, render.TRAINED_FONTS[0], 6).open().tobytes()]
    assert runs[0].strip() == hashlib.sha256(repr((texts, lines, fields)).encode() + b"".join(pictures)).hexdigest()


@pytest.mark.parametrize("height", [28, 40])
def test_clean_print_is_black_on_white_and_whole(render, height: int):
    for font in fonts(render):
        for text in ("TOTAL 12.30", "AQJ/4:5", "8-3", "Ag(jy), 5%", "fff"):
            image = render.render_line(text, random.Random(0), font, height=height, strength=0)
            assert image.mode == "RGB"
            assert image.height == height
            values = np.asarray(image)
            assert (values[0] > 200).all(), (font, text)
            assert (values[-1] > 200).all(), (font, text)
            assert (values[:, [0, -1]] > 200).all(), (font, text)
            assert values.min() < 60, (font, text)
    rows = np.flatnonzero(
        ink(render.render_line("HELLO", random.Random(0), "DejaVuSans", height=height, strength=0)).any(axis=1)
    )
    assert len(rows) > 0.6 * height  # letters larger than a patch of 14 pixels


def test_photographs_differ_and_stay_readable(render):
    clean = render.render_line("TOTAL 12.30", random.Random(0), "DejaVuSans", strength=0)
    assert clean.tobytes() == render.render_line("TOTAL 12.30", random.Random(1), "DejaVuSans", strength=0).tobytes()
    pictures = [render.render_line("TOTAL 12.30", random.Random(seed), "DejaVuSans") for seed in range(100)]
    assert len({picture.tobytes() for picture in pictures}) == 100
    assert len({picture.size for picture in pictures}) > 5
    for picture in pictures:
        values = np.asarray(picture.convert("L"), dtype=float)
        assert np.percentile(values, 95) - values.min() > 60  # the ink stands out from the paper
        assert values.mean() > 110


def test_thousands_of_lines_take_seconds(render):
    start = time.process_time()
    for seed, text in enumerate(draw(render, 1000, characters=render.PLAIN_CHARACTERS, longest=10)):
        render.Picture(text, fonts(render)[seed % 15], seed).open()
    assert time.process_time() - start < 10  # it takes about one; other tests share the core


def test_a_receipt_is_written_as_its_text_says(render):
    for seed in range(200):
        rng = random.Random(seed)
        lines, fields = render.draw_receipt(rng, held_out=seed % 2 == 0)
        text = render.receipt_text(lines)
        assert render.is_held_out(text) == (seed % 2 == 0)
        assert set(text) <= {*render.CHARACTERS, "\n"}
        assert list(fields) == ["company", "address", "date", "total"]
        for value in fields.values():
            assert value in text.replace("\n", " ")
        prices = [float(right) for left, right in lines[4:-1]]
        assert float(fields["total"]) == pytest.approx(sum(prices))
        assert text.split("\n")[0] == fields["company"]


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_lines_of_a_receipt_lie_below_each_other(render, strength: float):
    lines = [("Elvin & Lutz Pharmacy", ""), ("2 Green Tea", "4.50"), ("Total", "4.50")]
    image = render.Picture(lines, "DejaVuSansMono", seed=1, height=28, strength=strength).open()
    assert image.height == 4 * 28
    if strength == 0:
        rows = ink(image).any(axis=1)
        assert np.count_nonzero(np.diff(rows.astype(int)) == 1) == 3
        columns = np.flatnonzero(ink(image)[56:].any(axis=0))
        assert columns.max() - columns.min() > 0.7 * image.width  # the amount is at the right edge
