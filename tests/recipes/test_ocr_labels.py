"""A text beside each picture, and label files such as PaddleOCR's."""

import json
from collections.abc import Iterator
from pathlib import Path

from common.data.notes import LEFT_OUT

import pytest
from conftest import recipe_modules
from ocr_files import COUNT, EXPECTED, TEXTS, ground_truth, load, save_pictures, shown, sroie_boxes, write_jsonl
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


# --- Lines and their texts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gt.txt", ".txt"])
@pytest.mark.parametrize("picture", [".png", ".bin.png", ".tif", ".jpg"])
def test_a_text_beside_each_picture(recipe, tmp_path: Path, suffix: str, picture: str):
    for number, text in enumerate(TEXTS):
        book = tmp_path / f"book{number % 2}"
        book.mkdir(exist_ok=True)
        Image.new("RGB", (60 + number, 30)).save(book / f"line{number // 2}{picture}", {".jpg": "jpeg"}.get(picture))
        (book / f"line{number // 2}{suffix}").write_text(f"{text}\n")
    assert shown(recipe, load(recipe, tmp_path)) == EXPECTED


def test_a_row_beside_each_picture(recipe, tmp_path: Path):
    for name, text in zip(save_pictures(tmp_path), TEXTS, strict=True):
        (tmp_path / name).with_suffix(".json").write_text(json.dumps({"question": "What?", "answer": text}))
    assert shown(recipe, load(recipe, tmp_path)) == EXPECTED


def test_an_empty_cell_is_no_text_beside_another(recipe, tmp_path: Path):
    names = save_pictures(tmp_path)
    columns = [("text", "caption"), ("caption", "text")] * 3
    pairs = zip(names, TEXTS, columns, strict=True)
    write_jsonl(tmp_path / "data.jsonl", [{"image": name, one: text, other: ""} for name, text, (one, other) in pairs])
    assert shown(recipe, load(recipe, tmp_path / "data.jsonl")) == EXPECTED


def test_pictures_without_a_row_are_said(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    names = save_pictures(tmp_path)
    write_jsonl(tmp_path / "metadata.jsonl", [{"file_name": name, "text": name} for name in names[:4]])
    assert len(load(recipe, tmp_path, num_held_out=9)) == 4
    assert "metadata.jsonl: 2 pictures beside it have no row and are not read, such as 4.png" in capsys.readouterr().out


def test_pictures_without_texts_are_refused(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    save_pictures(tmp_path / "train" / "cats")
    with pytest.raises(SystemExit):
        load(recipe, tmp_path)
    assert f"error: {tmp_path} holds pictures and no texts; write a metadata.jsonl" in capsys.readouterr().err


def test_a_picture_without_its_text_is_named(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    ground_truth(tmp_path, "data")
    save_pictures(tmp_path / "data", ["0.png", "1.png", "2.png", "3.png"])
    for name in ("3.gt.txt", "4.gt.txt"):
        (tmp_path / "data" / name).write_text("a")
    with pytest.raises(SystemExit):
        load(recipe, tmp_path / "data")
    assert f"error: {tmp_path}/data/2.png: no text beside it" in capsys.readouterr().err
    load(recipe, tmp_path / "data", skip_bad_rows=True)
    assert LEFT_OUT[f"{tmp_path}/data/2.png"].startswith("no text beside it")
    assert LEFT_OUT[f"{tmp_path}/data/4.gt.txt"].startswith("no picture beside it")


def test_boxes_without_texts_are_no_texts(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in save_pictures(tmp_path):
        (tmp_path / name).with_suffix(".txt").write_text("0 0.5 0.25 0.1 0.1\n12 0.5 1 0.1 0.1\n")
    with pytest.raises(SystemExit):
        load(recipe, tmp_path)
    assert f"error: {tmp_path}/0.png: 0.txt holds boxes in YOLO's form and no text" in capsys.readouterr().err


# --- PaddleOCR ----------------------------------------------------------------------------------------------------------


def test_paddles_lines(recipe, tmp_path: Path):
    save_pictures(tmp_path / "train_data" / "crops")
    path = tmp_path / "train_data" / "rec_gt.txt"
    path.write_text("".join(f"crops/{number}.png\t{text}\n" for number, text in enumerate(TEXTS)), encoding="utf-8")
    assert shown(recipe, load(recipe, path)) == shown(recipe, load(recipe, tmp_path / "train_data")) == EXPECTED


@pytest.mark.parametrize("line", ['{}.png, "{}"', "{}.png {}"])
def test_label_files_of_others(recipe, tmp_path: Path, line: str):
    save_pictures(tmp_path)
    quoted = [text.replace('"', '\\"') if "," in line else text for text in TEXTS]
    (tmp_path / "gt.txt").write_text("\n".join(line.format(number, text) for number, text in enumerate(quoted)))
    assert shown(recipe, load(recipe, tmp_path)) == EXPECTED


def test_paddles_lines_of_several_pictures(recipe, tmp_path: Path):
    save_pictures(tmp_path)
    (tmp_path / "rec_gt.txt").write_text("".join(f'["{n}.png", "{n + 1}.png"]\tTEA {n}\n' for n in range(0, COUNT, 2)))
    rows = load(recipe, tmp_path, num_held_out=9)
    assert shown(recipe, rows) == [([number], f"TEA {number // 2 * 2}") for number in range(COUNT)]
    assert len({row["where"] for row in rows}) == COUNT


def boxes(*texts: str, top: int = 10) -> list[dict]:
    return [
        {
            "transcription": text,
            "points": [[10, y], [60 + number, y], [60 + number, y + 20], [10, y + 20]],
            "difficult": False,
        }
        for number, (text, y) in enumerate(zip(texts, range(top, 10_000, 40), strict=False))
    ]


@pytest.mark.parametrize("where", ["Label.txt", "train/Label.txt"])
def test_paddles_pages(recipe, tmp_path: Path, where: str):
    """PPOCRLabel names pictures with the folder in which the label file stands."""
    folder = (tmp_path / where).parent
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(4):
        Image.new("RGB", (200 + number, 300), "white").save(folder / f"{number}.jpg")
        lines.append(f"{folder.name}/{number}.jpg\t{json.dumps(boxes(f'TEA {number}', '###', f'SUM {number}'))}\n")
    (tmp_path / where).write_text("".join(lines))
    (folder / "fileState.txt").write_text(f"{folder}/0.jpg\t1\n")
    rows = load(recipe, tmp_path, num_held_out=9)
    assert sorted(text for _, text in shown(recipe, rows)) == sorted(f"{word} {n}" for n in range(4) for word in ("TEA", "SUM"))
    rows = load(recipe, tmp_path, num_held_out=9, units="receipts")
    assert shown(recipe, rows) == [([140 + number], f"TEA {number}\nSUM {number}") for number in range(4)]


def test_boxes_on_several_pages_are_refused(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    page = Image.new("RGB", (200, 300), "white")
    page.save(tmp_path / "0.tif", save_all=True, append_images=[page])
    (tmp_path / "0.txt").write_text(sroie_boxes(0))
    with pytest.raises(SystemExit):
        load(recipe, tmp_path)
    assert f"error: {tmp_path}/0.tif: 0.tif has several pages, and boxes do not say on which" in capsys.readouterr().err
