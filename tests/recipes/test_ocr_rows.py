"""Rows of pictures, read from tables, folders and parquet as they are written."""

import json
from pathlib import Path

import pytest
from conftest import recipe_modules
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from ocr_files import TEXTS, all_rows, answers, asked, load_parts, save_images, say, solid_png, to_jsonl

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("ocr_vision_language", ["data", "fields", "images", "metrics", "lesson.render"]) as modules:
        yield modules


def widths(recipe, rows: list[dict]) -> list[int]:
    return [image.width for row in rows for image in recipe["images"].open_images(row)]


# --- Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "suffix"), [("file_name", "jsonl"), ("image", "jsonl"), ("file_name", "csv"), ("image", "csv")]
)
@pytest.mark.parametrize("as_folder", [True, False])
def test_tables_are_read_as_they_are_written(recipe, tmp_path: Path, column: str, suffix: str, as_folder: bool):
    """Neither are numbers, dates or NA made of texts that look like them."""
    rows = [{column: f"scans/{name}", "text": text} for name, text in zip(save_images(tmp_path / "scans"), TEXTS, strict=True)]
    text = to_jsonl(rows)
    if suffix == "csv":
        quoted = [text.replace('"', '""') for text in TEXTS]
        text = f"{column},text\n" + "".join(f'{row[column]},"{quote}"\n' for row, quote in zip(rows, quoted, strict=True))
    path = tmp_path / f"metadata.{suffix}"
    path.write_text(text)
    settings = {"dataset_name": str(tmp_path if as_folder else path), "question": "What is it?"}
    train, validation, held_out = load_parts(recipe, **settings)
    assert [len(train), len(validation), len(held_out["held_out"])] == [4, 1, 1]
    assert answers(held_out["held_out"]) == ["NA"]  # whatever the format
    rows = all_rows(recipe, **settings)
    assert answers(rows) == TEXTS
    assert rows[0]["messages"][0] == {"role": "user", "content": "What is it?"}
    assert widths(recipe, rows) == list(range(60, 66))
    assert rows[2]["where"] in (f"{path}, line 3", f"{path}, row 3")


def test_folders_train_and_test(recipe, tmp_path: Path):
    for split in ("train", "test"):
        names = save_images(tmp_path / split, 3)
        rows = [{"file_name": name, "text": f"{split} {name}", "total": "9.00"} for name in names]
        (tmp_path / split / "metadata.jsonl").write_text(to_jsonl(rows))
    train, validation, held_out = load_parts(recipe, dataset_name=str(tmp_path))
    assert sorted(answers(train + validation)) == ["train 0.png", "train 1.png", "train 2.png"]
    assert len(validation) == 1
    assert len(held_out["held_out"]) == 2
    assert set(answers(held_out["held_out"])) < {"test 0.png", "test 1.png", "test 2.png"}
    assert train[0]["fields"] == {"total": "9.00"}


def test_an_imagefolder_with_metadata_in_parquet(recipe, tmp_path: Path):
    names = save_images(tmp_path / "data" / "train")
    Dataset.from_dict({"file_name": names, "text": TEXTS}).to_parquet(tmp_path / "data" / "train" / "metadata.parquet")
    rows = all_rows(recipe, dataset_name=str(tmp_path / "data"))
    assert dict(zip(widths(recipe, rows), answers(rows), strict=True)) == dict(zip(range(60, 66), TEXTS, strict=True))


def test_messages_with_several_images_and_with_none(recipe, tmp_path: Path):
    save_images(tmp_path)
    place, ask = {"type": "image"}, {"type": "text", "text": "Which is wider?"}
    rows = [
        {"images": ["0.png", "1.png"], "messages": [{"role": "user", "content": [place, place, ask]}, say("the second")]},
        {"images": ["2.png", "3.png"], "messages": [{"role": "user", "content": "Which is wider?"}, say("the second")]},
        {"messages": [{"role": "user", "content": "Hello"}, say("Hello!")]},
        {"image": "4.png", "messages": [{"role": "user", "content": [place, ask]}, say("this"), *asked("Sure?"), say("yes")]},
    ]
    (tmp_path / "data.jsonl").write_text(to_jsonl([*rows, rows[2]]))
    train = all_rows(recipe, dataset_name=str(tmp_path / "data.jsonl"), num_held_out=1)
    assert [len(row["images"]) for row in train] == [2, 2, 0, 1, 0]
    assert train[0]["messages"] == rows[0]["messages"]
    assert train[1]["messages"] == rows[1]["messages"]
    assert train[3]["messages"][2]["content"] == [{"type": "text", "text": "Sure?"}]
    from trl import prepare_multimodal_messages

    for row in train:
        images = recipe["images"].open_images(row)
        prepared = prepare_multimodal_messages(row["messages"], images)
        assert [part["image"] for message in prepared for part in message["content"] if part["type"] == "image"] == images


# --- Parquet ------------------------------------------------------------------------------------------------------------

GROUND_TRUTH = {
    "gt_parse": {
        "menu": [
            {"nm": "Nasi Goreng", "cnt": "1 x", "price": "25,000"},
            {"nm": ["Es", "Teh"], "price": "5,000", "sub": {"nm": "less ice", "price": "0"}},
        ],
        "sub_total": {"subtotal_price": "30,000", "tax_price": "3,000"},
        "total": {"total_price": "33,000", "cashprice": "50,000", "menuqty_cnt": "2"},
    }
}
TRANSCRIPTION = """Nasi Goreng 1 x 25,000
Es Teh 5,000
less ice 0
subtotal 30,000
tax 3,000
total 33,000
cash 50,000
menuqty cnt 2"""


def test_cord_in_parquet(recipe, tmp_path: Path):
    content = [{"bytes": solid_png(size=(60 + number, 40)), "path": None} for number in range(4)]
    others = [{"gt_parse": {"menu": {"nm": name, "price": "2.00"}}} for name in ("Tea", "Milk", "Juice")]
    truths = [json.dumps(truth) for truth in (GROUND_TRUTH, *others)]
    features = Features({"image": ImageFeature(), "ground_truth": Value("string")})
    path = tmp_path / "train.parquet"
    Dataset.from_dict({"image": content, "ground_truth": truths}, features=features).to_parquet(path)
    train = all_rows(recipe, dataset_name=str(path))
    assert answers(train) == [TRANSCRIPTION, "Tea 2.00", "Milk 2.00", "Juice 2.00"]
    assert train[0]["fields"] == GROUND_TRUTH["gt_parse"]
    assert widths(recipe, train) == [60, 61, 62, 63]
    score, _ = recipe["metrics"].score(train, answers(train))
    assert score["field_presence"]["value"] == 1
    assert all(recipe["metrics"].has_field(TRANSCRIPTION, value) for _, value in recipe["fields"].leaves(train[0]["fields"]))


def test_lists_of_images_in_parquet(recipe, tmp_path: Path):
    features = Features(
        {
            "images": List(ImageFeature()),
            "messages": List({"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}),
        }
    )
    message = {"role": "user", "content": [{"type": "image", "text": None}] * 2 + [{"type": "text", "text": "Which?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "that"}]}
    images = [[{"bytes": solid_png(size=(width + row, 30)), "path": None} for width in (60, 70)] for row in range(3)]
    table = {"images": images, "messages": [[message, answer]] * 3}
    Dataset.from_dict(table, features=features).to_parquet(tmp_path / "data.parquet")
    train = all_rows(recipe, dataset_name=str(tmp_path / "data.parquet"))
    place, text = {"type": "image"}, {"type": "text", "text": "Which?"}
    assert train[0]["messages"] == [{"role": "user", "content": [place, place, text]}, say("that")]
    assert widths(recipe, train) == [60, 70, 61, 71, 62, 72]


def test_a_bad_picture_in_parquet_names_its_row(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    content = [{"bytes": data, "path": None} for data in (solid_png(), b"not a picture", solid_png(), solid_png())]
    features = Features({"image": ImageFeature(), "text": Value("string")})
    path = tmp_path / "data.parquet"
    Dataset.from_dict({"image": content, "text": ["a"] * 4}, features=features).to_parquet(path)
    with pytest.raises(SystemExit):
        load_parts(recipe, dataset_name=str(path))
    assert f"error: {path}, row 2: the picture is none of BMP, " in capsys.readouterr().err
