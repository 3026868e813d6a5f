"""Pictures and their texts in tables and data sets: each is read whole, the right text beside the right picture."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import recipe_modules
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature
from ocr_files import COUNT, EXPECTED, TEXTS, load, png, save_pictures, shown, write_jsonl

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


# --- Tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["image", "images", "file_name", "image_path", "Image", "path", "filename", "img"])
def test_columns_of_pictures(recipe, tmp_path: Path, column: str):
    save_pictures(tmp_path)
    rows = [{column: f"{number}.png", "text": text} for number, text in enumerate(TEXTS)]
    assert shown(recipe, load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))) == EXPECTED


@pytest.mark.parametrize("column", ["text", "transcription", "ground_truth", "label", "caption", "answer", "Text"])
def test_columns_of_texts(recipe, tmp_path: Path, column: str):
    save_pictures(tmp_path)
    rows = [{"image": f"{number}.png", column: text} for number, text in enumerate(TEXTS)]
    assert shown(recipe, load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))) == EXPECTED


@pytest.mark.parametrize("names", [("images", "answer"), ("image", "text")])
def test_columns_of_any_name(recipe, tmp_path: Path, names: tuple[str, str]):
    save_pictures(tmp_path)
    rows = [{"scan": f"{number}.png", "inhalt": text, "text": "other"} for number, text in enumerate(TEXTS)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    assert shown(recipe, load(recipe, path, columns=[f"{names[0]}=scan", f"{names[1]}=inhalt"])) == EXPECTED


def test_columns_that_are_not_read_are_told(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    save_pictures(tmp_path)
    rows = [
        {"image": f"{n}.png", "text": text, "page": n, "image_1": "sha-1", "note": "dark", "x": None}
        for n, text in enumerate(TEXTS)
    ]
    load(recipe, write_jsonl(tmp_path / "data.jsonl", rows), group_by="page")
    assert "columns that are not read: image_1, note\n" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["text", "answer"])
def test_a_question_of_each_row(recipe, tmp_path: Path, answer: str):
    save_pictures(tmp_path)
    rows = [{"image": f"{number}.png", "question": f"What is {number}?", answer: text} for number, text in enumerate(TEXTS)]
    rows = load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))
    assert shown(recipe, rows) == EXPECTED
    assert [row["messages"][0]["content"] for row in rows] == [f"What is {number}?" for number in range(COUNT)]


def test_the_first_of_several_right_answers_is_learned(recipe, tmp_path: Path):
    save_pictures(tmp_path)
    rows = [{"image": f"{n}.png", "question": "What?", "answers": [text, "other"]} for n, text in enumerate(TEXTS)]
    assert shown(recipe, load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))) == EXPECTED


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(recipe, tmp_path: Path, separator: str):
    save_pictures(tmp_path)
    quoted = [text.replace('"', '""') for text in TEXTS]
    lines = [f'{number}.png{separator}"{text}"' for number, text in enumerate(quoted)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([f"image{separator}text", *lines]), encoding="utf-8-sig")
    assert shown(recipe, load(recipe, path)) == EXPECTED


@pytest.mark.parametrize("place", ["metadata.csv", "train/metadata.csv", "labels.csv"])
def test_a_comma_without_quotes_is_refused_by_its_row(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, place: str):
    save_pictures((tmp_path / place).parent)
    (tmp_path / place).write_text("file_name,text\n0.png,12.30\n1.png,TEA, 4.50\n2.png,NA\n3.png,1\n4.png,2\n")
    with pytest.raises(SystemExit):
        load(recipe, tmp_path)
    assert f"{tmp_path / place}, row 2: 3 values for 2 columns" in capsys.readouterr().err


# --- Data sets of `datasets` --------------------------------------------------------------------------------------------

IMAGES: dict[str, tuple[object, Callable[[int], object]]] = {
    "Image": (ImageFeature(), lambda number: {"bytes": png(number), "path": None}),
    "bytes": (Value("binary"), png),
    "struct": (
        {"bytes": Value("binary"), "path": Value("string")},
        lambda number: {"bytes": png(number), "path": f"{number}.png"},
    ),
    "base64": (Value("string"), lambda number: base64.b64encode(png(number)).decode()),
    "list of Image": (List(ImageFeature()), lambda number: [{"bytes": png(number), "path": None}]),
    "list of structs": (
        List({"bytes": Value("binary"), "path": Value("string")}),
        lambda number: [{"bytes": png(number), "path": None}],
    ),
}


@pytest.mark.parametrize("saved", ["parquet", "save_to_disk"])
@pytest.mark.parametrize("column", ["image", "scan"])
@pytest.mark.parametrize("kind", IMAGES)
def test_pictures_within_a_data_set(recipe, tmp_path: Path, kind: str, column: str, saved: str):
    feature, make = IMAGES[kind]
    columns = {column: [make(number) for number in range(COUNT)], "text": TEXTS}
    rows = Dataset.from_dict(columns, features=Features({column: feature, "text": Value("string")}))
    if saved == "parquet":
        rows.to_parquet(tmp_path / "data.parquet")
        name = tmp_path / "data.parquet"
    else:
        DatasetDict(train=rows).save_to_disk(tmp_path / "data")
        name = tmp_path / "data"
    mapped = {} if column == "image" else {"columns": [f"images={column}"]}
    assert shown(recipe, load(recipe, name, **mapped)) == EXPECTED


def test_pictures_alone_in_a_data_set_are_refused(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    features = Features({"image": ImageFeature()})
    Dataset.from_dict({"image": [{"bytes": png(0), "path": None}]}, features=features).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SystemExit):
        load(recipe, tmp_path / "a.parquet")
    assert f"error: {tmp_path}/a.parquet, row 1: no `text` (found: image)" in capsys.readouterr().err
