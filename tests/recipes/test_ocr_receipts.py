"""SROIE's receipts as they are distributed, and the lines that are cut out of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import recipe_modules
from ocr_files import load, sroie_boxes
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


FACTS = {"company": "ALDER BAKERY", "date": "01/02/2026", "address": "1 OAK STREET", "total": "1.80"}


def official(folder: Path, part: str, number: int) -> tuple[list[Path], Path, Path]:
    boxed, named = (folder / f"0325updated.task{task}{part}(626p)" for task in (1, 2))
    pictures = [place / f"X0000{number}.jpg" for place in (boxed, named)]
    return pictures, boxed / f"X0000{number}.txt", named / f"X0000{number}.txt"


def kaggle(folder: Path, part: str, number: int) -> tuple[list[Path], Path, Path]:
    places = [folder / "SROIE2019" / part / kind for kind in ("img", "box", "entities")]
    return [places[0] / f"X{number}.jpg"], places[1] / f"X{number}.txt", places[2] / f"X{number}.txt"


def github(folder: Path, part: str, number: int) -> tuple[list[Path], Path, Path]:
    places = [folder / part / kind for kind in ("img", "box", "key")]
    return [places[0] / f"{number:03}.jpg"], places[1] / f"{number:03}.csv", places[2] / f"{number:03}.json"


@pytest.mark.parametrize("layout", [official, kaggle, github])
def test_sroie_as_it_is_distributed(recipe, tmp_path: Path, layout: Callable[..., tuple[list[Path], Path, Path]]):
    for part in ("train", "test"):
        for number in range(3):
            pictures, boxed, facts = layout(tmp_path, part, number)
            for path in [*pictures, boxed, facts]:
                path.parent.mkdir(parents=True, exist_ok=True)
            for path in pictures:
                Image.new("RGB", (200 + number, 300), "white").save(path)
            boxed.write_bytes(sroie_boxes(number).encode())
            facts.write_text(json.dumps(FACTS, indent=4))
    args = {"dataset_name": str(tmp_path), "num_held_out": 99}
    train, validation, held_out = recipe["data"].load_data(recipe["data"].OcrArguments(**args), 0)
    assert [len(train) + len(validation), len(held_out["held_out"])] == [12, 12]
    lines = [*train, *validation, *held_out["held_out"]]
    assert len({row["where"] for row in lines}) == 24
    assert "1 OAK STREET, TOWN" in {row["messages"][-1]["content"] for row in lines}
    train, validation, held_out = recipe["data"].load_data(recipe["data"].OcrArguments(**args, units="receipts"), 0)
    assert [len(train) + len(validation), len(held_out["held_out"])] == [3, 3]
    assert train[0]["fields"] == FACTS


def test_crops_are_cut_once(recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(4):
        Image.effect_noise((200, 300), 90).convert("RGB").save(tmp_path / f"{number}.jpg")
        (tmp_path / f"{number}.txt").write_text(sroie_boxes(number))
    rows = load(recipe, tmp_path, num_held_out=99)
    before = [image.tobytes() for row in rows for image in recipe["images"].open_images(row)]
    assert len(before) == 16
    for path in tmp_path.glob("*.jpg"):
        path.write_bytes(b"")  # nothing reads it again
    assert [image.tobytes() for row in rows for image in recipe["images"].open_images(row)] == before
