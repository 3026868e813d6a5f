"""Drawn lines of till receipts: what is written in them and transcribed, that they differ and repeat; and real lines."""

import random
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import recipe_modules

LINES = Path(__file__).parents[3] / "shared" / "data" / "sroie_lines"
needs_lines = pytest.mark.skipif(
    not LINES.exists(), reason=f"needs lines of SROIE's receipts, train.parquet and test.parquet, in {LINES}"
)


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, ModuleType]]:
    names = ["data", "images", "lesson.render", "lesson.texts", "lesson.thermal", "lesson.till"]
    with recipe_modules("ocr_vision_language", names) as modules:
        yield modules


def draw(recipe: dict[str, ModuleType], count: int, **settings) -> list[str]:
    rng = random.Random(0)
    return [recipe["till"].draw_thermal_text(rng, **({"held_out": False} | settings)) for _ in range(count)]


def load(recipe: dict[str, ModuleType], **settings) -> tuple[list[dict], list[dict], dict[str, list[dict]]]:
    arguments = recipe["data"].OcrArguments(**({"dataset_name": "synthetic", "num_held_out": 20} | settings))
    return recipe["data"].load_data(arguments, 0)


def test_texts_are_those_of_tills(recipe):
    texts = draw(recipe, 8000)
    assert all(1 <= len(text) <= 40 for text in texts)
    assert set("".join(texts)) <= set(recipe["till"].THERMAL_CHARACTERS)
    assert set("".join(texts)) >= set(string.ascii_letters + string.digits + recipe["till"].SIGNS)
    assert not any(text != " ".join(text.split()) for text in texts)
    letters = [text for text in texts if any(map(str.isalpha, text))]
    assert 0.2 < sum(text.isupper() for text in letters) / len(letters) < 0.8
    # A commonest text would be worth guessing.
    assert max(map(texts.count, set(texts))) < 80
    held_out = draw(recipe, 500, held_out=True)
    assert not {text.upper() for text in texts} & {text.upper() for text in held_out}
    assert {len(text) for text in draw(recipe, 50, shortest=4, longest=4)} == {4}
    assert {len(text) for text in draw(recipe, 20, shortest=1, longest=2)} == {1, 2}


def test_a_larger_share_of_codes_leaves_fewer_words(recipe):
    till = recipe["till"]
    known = {word for phrase in [*till.PHRASES, *till.GOODS, *till.OWNERS] for word in phrase.upper().split() if len(word) > 2}
    counts = [
        sum(not known.isdisjoint(text.upper().split()) for text in draw(recipe, 500, code_share=share)) for share in (0, 0.5, 1)
    ]
    assert counts[0] > 150
    assert 0.35 < counts[1] / counts[0] < 0.65
    assert counts[2] < 15


def test_pictures_repeat_and_differ(recipe):
    thermal, rng = recipe["thermal"], random.Random(1)
    fonts = [*dict.fromkeys(thermal.THERMAL_FONTS), *recipe["render"].UNSEEN_FONTS]
    seen, contrasts = set(), []
    for number, text in enumerate(draw(recipe, 300)):
        font = fonts[number % len(fonts)]
        line = thermal.ThermalLine(text, font, rng.getrandbits(32))
        picture = line.open()
        assert picture.tobytes() == line.open().tobytes()
        assert (picture.mode, picture.height) == ("L", 32)
        assert picture.width < 64 * 28  # as many tokens as thermal.yaml's max_pixels are
        seen.add(picture.tobytes())
        values = np.asarray(picture, dtype=float)
        contrasts.append(np.percentile(values, 95) - values.min())
    assert len(seen) > 295  # of a line of one dot two may be alike
    assert np.percentile(contrasts, 5) > 40  # the ink stands out from the paper
    # As on receipts a letter is half as wide as the line is high, and often narrower.
    widths = [thermal.ThermalLine("TOTAL 12.30", font, seed).open().width / 11 for font in fonts for seed in range(20)]
    assert 12 < np.median(widths) < 20
    assert min(widths) < 10


def test_every_character_is_drawn_by_the_fonts_that_are_taken_for_it(recipe):
    thermal, rng = recipe["thermal"], random.Random(0)
    for character in recipe["till"].THERMAL_CHARACTERS.replace(" ", ""):
        fonts = {thermal.font_for(character, rng, thermal.THERMAL_FONTS) for _ in range(100)}
        has_others = not fonts & set(thermal.COMPUTER_MODERN)
        assert has_others == (character not in recipe["texts"].CHARACTERS), character
        for font in fonts:
            picture = thermal.render_thermal(character, random.Random(0), font, strength=0)
            assert np.asarray(picture).min() < 100, (character, font)


def test_the_transcription_is_in_capitals(recipe):
    train, validation, held_out = load(recipe, num_train=400, thermal=True, shortest=1, longest=40, line_height=32)
    assert list(held_out) == ["held_out", "unseen_font"]
    for row in [*train, *validation, *held_out["held_out"], *held_out["unseen_font"]]:
        assert row["messages"][-1]["content"] == row["images"][0].text.upper()
    assert any(row["images"][0].text.islower() for row in train)
    assert not {row["group"] for row in train} & {row["group"] for row in held_out["held_out"]}
    unseen = {row["images"][0].font for row in held_out["unseen_font"]}
    assert unseen == set(recipe["render"].UNSEEN_FONTS)
    assert not unseen & {row["images"][0].font for row in train}
    # Short, clean lines come first.
    growing, _, _ = load(recipe, num_train=400, thermal=True, curriculum=1.0)
    assert growing[0]["images"][0].strength < 0.1 < 0.9 < growing[-1]["images"][0].strength
    assert max(len(row["group"]) for row in growing[:20]) < 10 < max(len(row["group"]) for row in growing[-100:])


@pytest.mark.parametrize("other", [{"plain": True}, {"italics": True}, {"units": "receipts"}, {"units": "both"}])
def test_what_does_not_go_with_thermal_print_is_refused(recipe, other: dict, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        load(recipe, num_train=10, thermal=True, **other)
    said = capsys.readouterr().err
    assert f"thermal does not go with {'units ' + other['units'] if 'units' in other else next(iter(other))}" in said


@needs_lines
def test_lines_of_real_receipts(recipe):
    train, validation, held_out = load(recipe, dataset_name=str(LINES), num_held_out=800)
    assert len(held_out["held_out"]) == 770  # its whole split `test`, other receipts than those of `train`
    assert len(train) > 4000
    assert len(validation) > 400
    assert {Path(row["where"].partition(",")[0]).name for row in held_out["held_out"]} == {"test.parquet"}
    unseen = [row for row in held_out["held_out"] if not row["seen"]]
    texts = {row["messages"][-1]["content"] for row in train}
    assert 100 < len(unseen) < 500
    assert not texts & {row["messages"][-1]["content"] for row in unseen}
    # Nothing stands on them that drawn lines do not have, nor is longer than what real.yaml lets a model write.
    assert set("".join(texts)) <= set(recipe["till"].THERMAL_CHARACTERS.upper())
    assert max(map(len, texts)) < 48
    assert recipe["images"].open_images(unseen[0])[0].height == 32
