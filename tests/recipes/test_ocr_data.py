"""The rows of ocr_vision_language: generated, and read from files, folders, parquet, and SROIE's receipts."""

import io
import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from accelerate import PartialState
from conftest import recipe_modules
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from forks import fork_one_of_two, free_port
from PIL import Image

SROIE = Path(__file__).parents[3] / "shared" / "data" / "sroie"
needs_sroie = pytest.mark.skipif(not SROIE.exists(), reason=f"needs SROIE's receipts, with csv and json each, in {SROIE}")


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("ocr_vision_language", ["data", "fields", "images", "metrics", "lesson.render"]) as modules:
        yield modules


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of pictures does not outlive a test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def load(recipe, seed: int = 0, **settings):
    arguments = recipe["data"].OcrArguments(**({"num_held_out": 2} | settings))
    return recipe["data"].load_data(arguments, seed)


def all_rows(recipe, **settings) -> list[dict]:
    """Returns the rows of all parts in the order of the file."""
    train, validation, held_out = load(recipe, **settings)
    rows = [*train, *validation, *(row for rows in held_out.values() for row in rows)]
    return sorted(rows, key=lambda row: row["where"])


def answers(rows: list[dict]) -> list[str]:
    return [row["messages"][-1]["content"] for row in rows]


def png(color: str = "red", size: tuple[int, int] = (60, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "png")
    return buffer.getvalue()


def save_images(folder: Path, count: int = 6) -> list[str]:
    """Writes pictures of different widths, so that it shows which is which."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(png(size=(60 + number, 30)))
    return names


def widths(recipe, rows: list[dict]) -> list[int]:
    return [image.width for row in rows for image in recipe["images"].open_images(row)]


def to_jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- Generated pictures -------------------------------------------------------------------------------------------------


def test_generated_rows(recipe):
    settings = {"dataset_name": "synthetic", "num_train": 300, "num_held_out": 60, "plain": True, "longest": 10}
    train, validation, held_out = load(recipe, **settings)
    assert [len(train), len(validation)] == [300, 30]
    assert {name: len(set(answers(rows))) for name, rows in held_out.items()} == {"held_out": 60, "unseen_font": 60}
    render = recipe["render"]
    assert {row["images"][0].font for row in train + held_out["held_out"]} == set(render.TRAINED_FONTS)
    assert {row["images"][0].font for row in held_out["unseen_font"]} == set(render.UNSEEN_FONTS)
    for rows in held_out.values():
        assert not set(answers(rows)) & set(answers(train + validation))
    assert not set(answers(validation)) & set(answers(train))
    row = train[0]
    assert row["messages"][0] == {"role": "user", "content": "Read the text in the image."}
    assert row["fields"] is None
    assert len(answers([row])[0]) <= 10
    (image,) = recipe["images"].open_images(row)
    assert (image.mode, image.height) == ("RGB", 28)
    assert recipe["images"].open_images(row)[0].tobytes() == image.tobytes()


def test_the_seed_changes_what_is_trained_alone(recipe):
    settings = {"dataset_name": "synthetic", "num_train": 50}
    (first, *others), (second, *same), (again, *_) = (load(recipe, seed=seed, **settings) for seed in (0, 1, 0))
    assert others == same
    assert first == again
    assert set(answers(first)) != set(answers(second))
    more, _, _ = load(recipe, dataset_name="synthetic", num_train=2000, num_held_out=2)
    assert len(set(answers(more))) > 1900


def test_italics_are_in_no_other_run(recipe):
    upright, _, _ = load(recipe, dataset_name="synthetic", num_train=200)
    train, _, held_out = load(recipe, dataset_name="synthetic", num_train=200, italics=True)
    fonts = {row["images"][0].font for row in train}
    assert fonts == set(recipe["render"].ADAPTATION_FONTS)
    assert not fonts & {row["images"][0].font for row in upright}
    assert list(held_out) == ["held_out", "upright"]


def test_generated_receipts(recipe):
    train, _, held_out = load(recipe, dataset_name="synthetic", num_train=21, num_held_out=5, units="both")
    assert list(held_out) == ["held_out", "unseen_font", "held_out_receipts", "unseen_font_receipts"]
    receipts = [row for row in train if row["fields"]]
    assert [len(train), len(receipts)] == [21, 11]
    assert train[:10] != receipts[:10]  # mixed
    assert all(row["fields"] for row in held_out["held_out_receipts"])
    rows = receipts + held_out["held_out_receipts"]
    score, _ = recipe["metrics"].score(rows, answers(rows))
    assert score["field_presence"]["value"] == score["exact_match"]["value"] == 1
    assert all(recipe["metrics"].has_field(answers([row])[0], value) for row in rows for value in row["fields"].values())
    assert recipe["images"].open_images(rows[0])[0].height > 100
    only, _, held_out = load(recipe, dataset_name="synthetic", num_train=5, units="receipts")
    assert all(row["fields"] for row in only + held_out["held_out"])


# --- Files --------------------------------------------------------------------------------------------------------------

TEXTS = ["12.30", "007", "NA", "2026-12-27", "TEA, 4.50", 'a "b"']


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
    train, validation, held_out = load(recipe, **settings)
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
    train, validation, held_out = load(recipe, dataset_name=str(tmp_path))
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


def say(text: str) -> dict:
    return {"role": "assistant", "content": text}


def asked(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


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
    content = [{"bytes": png(size=(60 + number, 40)), "path": None} for number in range(4)]
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
    images = [[{"bytes": png(size=(width + row, 30)), "path": None} for width in (60, 70)] for row in range(3)]
    table = {"images": images, "messages": [[message, answer]] * 3}
    Dataset.from_dict(table, features=features).to_parquet(tmp_path / "data.parquet")
    train = all_rows(recipe, dataset_name=str(tmp_path / "data.parquet"))
    place, text = {"type": "image"}, {"type": "text", "text": "Which?"}
    assert train[0]["messages"] == [{"role": "user", "content": [place, place, text]}, say("that")]
    assert widths(recipe, train) == [60, 70, 61, 71, 62, 72]


def test_a_bad_picture_in_parquet_names_its_row(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    content = [{"bytes": data, "path": None} for data in (png(), b"not a picture", png(), png())]
    features = Features({"image": ImageFeature(), "text": Value("string")})
    path = tmp_path / "data.parquet"
    Dataset.from_dict({"image": content, "text": ["a"] * 4}, features=features).to_parquet(path)
    with pytest.raises(SystemExit):
        load(recipe, dataset_name=str(path))
    assert f"error: {path}, row 2: the picture is none of BMP, " in capsys.readouterr().err


# --- Mistakes -----------------------------------------------------------------------------------------------------------


def row(**columns) -> Callable[[Path], str]:
    """Returns what writes five good rows, of which the third is changed."""

    def write(folder: Path) -> str:
        rows = [{"image": name, "text": f"TEA {name}"} for name in save_images(folder, 5)]
        rows[2] = {key: value for key, value in (rows[2] | columns).items() if value is not None}
        (folder / "empty.png").touch()
        (folder / "long.png").write_bytes(png(size=(3000, 10)))
        (folder / "data.jsonl").write_text(to_jsonl(rows))
        return "data.jsonl"

    return write


LINE = "{folder}/data.jsonl, line 3: "
MISTAKES = [
    (row(image="none.png"), LINE + "there is no file {folder}/none.png; correct the path, which starts at the folder"),
    (row(image="empty.png"), LINE + "{folder}/empty.png is empty; copy it again or remove the row"),
    (row(image="data.jsonl"), LINE + "{folder}/data.jsonl is none of BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP; save it"),
    (row(image="long.png"), LINE + "the picture is 3000 x 10, too long and thin for patches; cut it up, or raise max_pixels"),
    (row(image=None), LINE + "no picture (found: text); write its path in `image` or `file_name`"),
    (row(image=3), LINE + "its pictures are [3]; write a path in `image`, or a list of paths in `images`"),
    (row(text=""), LINE + "`text` must be a text, not ''; fill it in or remove the row"),
    (row(text=12.3), LINE + "`text` must be a text, not 12.3; fill it in or remove the row"),
    (row(text=None, label=3), LINE + "no `text` (found: image, label); write `image` and `text`, or `messages`"),
    (row(text=None, ground_truth="{}"), LINE + '`ground_truth` must be JSON with a key "gt_parse", as in CORD'),
    (row(fields="9.00"), LINE + "`fields` is a str; write an object with company, date, address, total, or leave it out"),
    (row(messages=[say("a"), *asked("b")]), LINE + "the last message must be the assistant's, with a text"),
    (row(messages=[say("a")]), LINE + "nothing stands before what the assistant says; add what is asked, or remove the row"),
    (
        row(messages=[{"role": "system", "content": "a"}, say("a")]),
        LINE + "there are pictures, and no message of the user that they could stand in; add one",
    ),
    (row(messages=[{"role": "usr", "content": "a"}]), LINE + "message 1: unknown role `usr`"),
    (
        row(messages=[{"role": "user", "content": [{"type": "image"}] * 2}, say("a")]),
        LINE + "the messages have places for 2 images, and the row has 1; make them as many",
    ),
]


@pytest.mark.parametrize(("write", "line"), MISTAKES)
def test_a_bad_row(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, write: Callable[[Path], str], line: str):
    name = write(tmp_path)
    with pytest.raises(SystemExit) as ended:
        load(recipe, dataset_name=str(tmp_path / name), max_pixels=64 * 28 * 28)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"error: {line.format(folder=tmp_path)}" in error
    # With skip_bad_rows the row is left out, and counted.
    settings = {"dataset_name": str(tmp_path / name), "max_pixels": 64 * 28 * 28, "skip_bad_rows": True}
    train, validation, held_out = load(recipe, **settings)
    assert [len(train), len(validation), len(held_out["held_out"])] == [2, 1, 1]
    said = capsys.readouterr().out
    assert said.startswith(f"Left out 1 of 5 rows of {tmp_path / name} (train). The first: {line.format(folder=tmp_path)}")
    assert said.count("\n") == 2  # and the sizes of the parts


def test_a_picture_that_ends_early_is_left_out_before_training(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    names = save_images(tmp_path, 5)
    for name in names[1:3]:
        (tmp_path / name).write_bytes(png(size=(600, 300))[:-40])
    (tmp_path / "metadata.jsonl").write_text(to_jsonl([{"file_name": name, "text": name} for name in names]))
    with pytest.raises(SystemExit):
        load(recipe, dataset_name=str(tmp_path))
    assert f"error: {tmp_path}/metadata.jsonl, line 2: {tmp_path}/1.png is damaged (it ends early)" in capsys.readouterr().err
    assert answers(all_rows(recipe, dataset_name=str(tmp_path), skip_bad_rows=True)) == ["0.png", "3.png", "4.png"]
    assert capsys.readouterr().out.startswith(f"Left out 2 of 5 rows of {tmp_path} (train). The first: ")


@pytest.mark.parametrize("told", ["LOCAL_WORLD_SIZE", "LOCAL_SIZE"])
def test_processes_share_the_pictures_out(told: str, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each is decoded by one of two processes, and both have the same rows; DeepSpeed's launcher has another name for two."""
    folder = tmp_path / "pictures"
    names = save_images(folder, 6)
    (folder / names[3]).write_bytes(png(size=(600, 300))[:-40])
    (folder / "metadata.jsonl").write_text(to_jsonl([{"file_name": name, "text": name} for name in names]))
    opened = recipe["data"].open_image

    def work(rank: int) -> None:
        def note(source: Path, **how: bool) -> Image.Image:
            with (tmp_path / f"{rank}.txt").open("a") as file:
                file.write(f"{Path(source).name}\n")
            return opened(source, **how)

        monkeypatch.setattr(recipe["data"], "open_image", note)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        monkeypatch.setenv(told, "2")
        PartialState(cpu=True)
        rows = all_rows(recipe, dataset_name=str(folder), skip_bad_rows=True)
        (tmp_path / f"{rank}.rows").write_text(repr([(row["where"], row["digest"], row["messages"]) for row in rows]))

    port = free_port()
    workers = [fork_one_of_two(rank, port, partial(work, rank)) for rank in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    first, second = ((tmp_path / f"{rank}.rows").read_text() for rank in range(2))
    assert first == second
    alone = all_rows(recipe, dataset_name=str(folder), skip_bad_rows=True)
    assert repr([(row["where"], row["digest"], row["messages"]) for row in alone]) == first
    looked_at = [sorted((tmp_path / f"{rank}.txt").read_text().split()) for rank in range(2)]
    assert looked_at == [["0.png", "2.png", "4.png"], ["1.png", "5.png"]]


def nothing(folder: Path) -> str:
    return ""


def broken_table(folder: Path) -> str:
    (folder / "data.jsonl").write_text('{"image": "a.png", "text": "a"}\n{"image":\n')
    return "data.jsonl"


@pytest.mark.parametrize(
    ("write", "settings", "line"),
    [
        (nothing, {"num_held_out": 0}, "num_held_out is 0: without held-out problems nothing can be measured; use at least 1"),
        (nothing, {"units": "recipts"}, "units is recipts; did you mean `receipts`?"),
        (nothing, {"min_pixels": 900, "max_pixels": 800}, "min_pixels is 900 and max_pixels 800: use at least 1, and no less"),
        (nothing, {"dataset_name": "synthetic"}, "num_train is 0: say how many pictures to generate, for example"),
        (nothing, {"dataset_name": "synthetic", "num_train": 5, "shortest": 9, "longest": 8}, "shortest is 9 and longest 8: "),
        (
            nothing,
            {"dataset_name": "synthetic", "num_train": 5, "shortest": 2, "longest": 2, "num_held_out": 400, "plain": True},
            "there are too few texts of 2 to 2 characters for num_held_out 400; lower it",
        ),
        (broken_table, {}, "{folder}/data.jsonl, line 2: not valid JSON (Expecting value); write one JSON object a line"),
        (lambda folder: "none.jsonl", {}, "dataset_name {folder}/none.jsonl: there is no such file; pass an existing file"),
    ],
)
def test_mistake(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, write: Callable, settings: dict, line: str):
    name = write(tmp_path)
    with pytest.raises(SystemExit) as ended:
        load(recipe, **({"dataset_name": str(tmp_path / name)} | settings))
    assert ended.value.code == 2
    assert f"error: {line.format(folder=tmp_path)}" in capsys.readouterr().err


# --- SROIE --------------------------------------------------------------------------------------------------------------

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
    train, validation, held_out = load(recipe, dataset_name=str(tmp_path), units="both", num_held_out=4)
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
    lines, _, others = load(recipe, dataset_name=str(tmp_path), num_held_out=3)
    assert answers(lines) == answers(train)[:4]
    assert list(others) == ["held_out"]
    receipts, _, others = load(recipe, dataset_name=str(tmp_path), units="receipts")
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
        load(recipe, dataset_name=str(tmp_path))
    assert f"error: {line.format(folder=tmp_path)}" in capsys.readouterr().err
    train, _, _ = load(recipe, dataset_name=str(tmp_path), skip_bad_rows=True)
    assert len(train) == 4
    assert capsys.readouterr().out.startswith(f"Left out 1 of 4 rows of {tmp_path} (train). The first: ")


@needs_sroie
def test_sroie(recipe):
    train, validation, held_out = load(recipe, dataset_name=str(SROIE), units="both", num_held_out=1000)
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
