"""Receipts with boxes: their lines cut out, whole, broken; and all of SROIE's."""

import json
import re
from pathlib import Path

import pytest
from conftest import recipe_modules
from ocr_files import answers, load_parts
from PIL import Image

SROIE = Path(__file__).parents[3] / "shared" / "data" / "sroie"
needs_sroie = pytest.mark.skipif(not SROIE.exists(), reason=f"needs SROIE's receipts, with csv and json each, in {SROIE}")

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("ocr_vision_language", ["data", "fields", "images", "metrics", "lesson.render"]) as modules:
        yield modules


BOXES = """10,10,90,10,90,30,10,30,TEA & CO, LTD
10,40,50,40,50,60,10,60,TOTAL
10,70,90,70,90,90,10,90,THANK YOU
60,41,90,41,90,61,60,61,9.00
"""
FACTS = {"company": "Tea & Co, Ltd", "date": "", "address": "1 Oak Road", "total": "9.00"}


def save_receipts(folder: Path, count: int = 3) -> None:
    for number in range(count):
        Image.new("RGB", (100, 100), "white").save(folder / f"{number:03}.jpg")
        (folder / f"{number:03}.csv").write_text(BOXES.replace("THANK YOU", f"NUMBER {number}"))
        (folder / f"{number:03}.json").write_text(json.dumps(FACTS))


def test_a_folder_of_receipts(recipe, tmp_path: Path):
    save_receipts(tmp_path)
    train, validation, held_out = load_parts(recipe, dataset_name=str(tmp_path), units="both", num_held_out=4)
    assert [len(train), len(validation)] == [5, 5]
    assert {name: len(rows) for name, rows in held_out.items()} == {"held_out": 4, "held_out_receipts": 1}
    receipts = [{Path(row["where"]).stem for row in rows} for rows in (train, validation, *held_out.values())]
    assert [len(found) for found in receipts] == [1, 1, 1, 1]
    assert receipts[2] == receipts[3] == {"000", "001", "002"} - receipts[0] - receipts[1]
    number = int(receipts[0].pop())
    assert answers(train[:5]) == [
        "TEA & CO, LTD",
        "TOTAL",
        f"NUMBER {number}",
        "9.00",
        f"TEA & CO, LTD\nTOTAL 9.00\nNUMBER {number}",
    ]
    assert train[4]["fields"] == {"company": "Tea & Co, Ltd", "address": "1 Oak Road", "total": "9.00"}
    assert train[0]["fields"] is None
    assert [recipe["images"].open_images(row)[0].size for row in train[3:5]] == [(34, 24), (100, 100)]
    lines, _, others = load_parts(recipe, dataset_name=str(tmp_path), num_held_out=3)
    assert answers(lines) == answers(train)[:4]
    assert list(others) == ["held_out"]
    receipts, _, others = load_parts(recipe, dataset_name=str(tmp_path), units="receipts")
    assert answers(receipts) == [answers(train)[4]]
    assert answers(others["held_out"]) == answers(held_out["held_out_receipts"])


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("001.csv", "1,2,3,4,TEA\n", "{folder}/001.jpg: 001.csv, line 1: not eight numbers and a text; write x1,y1,"),
        ("001.csv", "", "{folder}/001.jpg: {folder}/001.csv is empty; it needs at least one row"),
        (
            "001.csv",
            "200,0,300,0,300,9,200,9,TEA",
            "{folder}/001.jpg: 001.csv, line 1: its box lies outside the picture of 100 x",
        ),
        ("001.json", "{", "{folder}/001.jpg: 001.json is not valid JSON ("),
        ("001.json", "[]", "{folder}/001.jpg: 001.json holds a list; write an object with the fields"),
        ("001.jpg", "x", "{folder}/001.jpg: {folder}/001.jpg is none of BMP,"),
    ],
)
def test_a_bad_receipt(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, content: str, line: str):
    save_receipts(tmp_path, 4)
    (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit):
        load_parts(recipe, dataset_name=str(tmp_path))
    assert f"error: {line.format(folder=tmp_path)}" in capsys.readouterr().err
    train, _, _ = load_parts(recipe, dataset_name=str(tmp_path), skip_bad_rows=True)
    assert len(train) == 4
    assert capsys.readouterr().out.startswith(f"Left out 1 of 4 rows of {tmp_path} (train). The first: ")


@needs_sroie
def test_sroie(recipe):
    train, validation, held_out = load_parts(recipe, dataset_name=str(SROIE), units="both", num_held_out=1000)
    pictures = sorted(SROIE.glob("*.jpg"))
    rows = [*train, *validation, *held_out["held_out"], *held_out["held_out_receipts"]]
    rows = sorted(rows, key=lambda row: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", row["where"])])
    receipts, lines = ([row for row in rows if bool(row["fields"]) == is_one] for is_one in (True, False))
    assert len(receipts) == len(pictures)
    assert held_out["held_out_receipts"]
    trained = set(answers(train))
    assert [row["seen"] for row in held_out["held_out"]] == [text in trained for text in answers(held_out["held_out"])]
    assert {row["seen"] for row in held_out["held_out"]} == {True, False}
    texts = [text for path in pictures for text in path.with_suffix(".csv").read_text().splitlines() if text.strip()]
    assert [row["messages"][-1]["content"] for row in lines] == [text.split(",", 8)[8].strip() for text in texts]
    assert len({row["where"] for row in rows}) == len(rows)
    parts = [
        {Path(row["where"].partition(",")[0]).stem for row in found}
        for found in (train, validation, [*held_out["held_out"], *held_out["held_out_receipts"]])
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(pictures)
    # A receipt is what its lines say, perhaps in another order, and most of the fields stand in it.
    for row in receipts:
        path = row["images"][0]
        words = [
            word for text in path.with_suffix(".csv").read_text().splitlines() if text for word in text.split(",", 8)[8].split()
        ]
        assert sorted(answers([row])[0].split()) == sorted(words)
        assert {"company", "date", "address"} <= row["fields"].keys() <= {"company", "date", "address", "total"}
    score, _ = recipe["metrics"].score(receipts, answers(receipts))
    assert score["field_presence"]["value"] == 1
    stands = [recipe["metrics"].has_field(answers([row])[0], value) for row in receipts for value in row["fields"].values()]
    assert sum(stands) / len(stands) > 0.85
    for row in receipts:
        (image,) = recipe["images"].open_images(row)
        assert image.mode == "RGB"
        assert image.height > image.width
    for row in lines[:: len(lines) // 40]:
        (image,) = recipe["images"].open_images(row)
        assert min(image.size) >= 10
