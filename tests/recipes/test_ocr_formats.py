"""Pictures and their texts in the forms that people have: each is read whole, the right text beside the right picture."""

import base64
import functools
import http.server
import io
import json
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from common.data.notes import LEFT_OUT
from common.run.config import parse

import pytest
from conftest import recipe_modules
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from trl import SFTConfig

COUNT = 6
TEXTS = ["12.30", "007", "NA", "2026-12-27", "TEA, 4.50", 'a "b"']


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of pictures does not outlive a test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def png(number: int, height: int = 30) -> bytes:
    """A picture whose width shows which it is."""
    buffer = io.BytesIO()
    Image.new("RGB", (60 + number, height), "white").save(buffer, "png")
    return buffer.getvalue()


def save_pictures(folder: Path, names: list[str] | None = None) -> list[str]:
    names = names or [f"{number}.png" for number in range(COUNT)]
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return names


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(recipe: dict, name: object, **settings) -> list[dict]:
    """Returns the rows of all parts in the order of their pictures."""
    args = recipe["data"].OcrArguments(**({"dataset_name": str(name), "num_held_out": 2} | settings))
    train, validation, held_out = recipe["data"].load_data(args, 0)
    rows = [*train, *validation, *(row for rows in held_out.values() for row in rows)]
    return sorted(rows, key=lambda row: [image.width for image in recipe["images"].open_images(row)])


def shown(recipe: dict, rows: list[dict]) -> list[tuple[list[int], str]]:
    """Returns the numbers of each row's pictures, and what is learned of them."""
    return [([image.width - 60 for image in recipe["images"].open_images(row)], row["messages"][-1]["content"]) for row in rows]


EXPECTED = [([number], text) for number, text in enumerate(TEXTS)]


# --- Where a picture is -------------------------------------------------------------------------------------------------


def as_data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


PLACES: dict[str, Callable[[Path, int], object]] = {
    "relative path": lambda folder, number: f"{number}.png",
    "absolute path": lambda folder, number: str(folder / f"{number}.png"),
    "file://": lambda folder, number: f"file://{folder}/{number}.png",
    "file://localhost": lambda folder, number: f"file://localhost{folder}/{number}.png",
    "data URI": lambda folder, number: as_data_uri(png(number)),
    "base64": lambda folder, number: base64.b64encode(png(number)).decode(),
    "struct of a path": lambda folder, number: {"path": f"{number}.png", "bytes": None},
    "struct of base64": lambda folder, number: {"path": None, "bytes": base64.b64encode(png(number)).decode()},
    "url object": lambda folder, number: {"url": as_data_uri(png(number))},
    "list of one": lambda folder, number: [f"{number}.png"],
    "backslashes": lambda folder, number: f".\\{number}.png",
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_picture_is_found_however_it_is_named(recipe, tmp_path: Path, kind: str):
    save_pictures(tmp_path)
    rows = [{"image": PLACES[kind](tmp_path, number), "text": text} for number, text in enumerate(TEXTS)]
    assert shown(recipe, load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))) == EXPECTED


def test_pictures_on_the_web_are_fetched_once(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    save_pictures(tmp_path / "web")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        rows = [{"image_url": f"{url}/{number}.png", "text": text} for number, text in enumerate(TEXTS)]
        path = write_jsonl(tmp_path / "data.jsonl", rows)
        assert shown(recipe, load(recipe, path)) == shown(recipe, load(recipe, path)) == EXPECTED
        assert len(asked) == COUNT
        write_jsonl(path, [*rows, {"image": f"{url}/none.png", "text": "a"}])
        with pytest.raises(SystemExit):
            load(recipe, path)
        server.shutdown()
    assert f"error: {path}, line 7: {url}/none.png cannot be fetched (404" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
def test_accents_in_file_names_have_two_forms(recipe, tmp_path: Path, written: str, named: str):
    names = [f"Beléß é{number}.png" for number in range(COUNT)]
    save_pictures(tmp_path / "data", [unicodedata.normalize(written, name) for name in names])
    rows = [{"file_name": unicodedata.normalize(named, name), "text": text} for name, text in zip(names, TEXTS, strict=True)]
    write_jsonl(tmp_path / "data" / "metadata.jsonl", rows)
    assert shown(recipe, load(recipe, tmp_path / "data")) == EXPECTED


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


# --- Conversations ------------------------------------------------------------------------------------------------------


def conversation(question: object, answer: object) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def llava(question: str, answer: str) -> list[dict]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


TEXT = {"type": "text", "text": "Read."}
MESSAGES: dict[str, Callable[[int, str], dict]] = {
    "images beside": lambda n, text: {"images": [f"{n}.png"], "messages": conversation("Read.", text)},
    "place": lambda n, text: {"images": [f"{n}.png"], "messages": conversation([{"type": "image"}, TEXT], text)},
    "mark": lambda n, text: {"images": [f"{n}.png"], "messages": conversation("<image>Read.", text)},
    "mark on a line": lambda n, text: {"image": f"{n}.png", "messages": conversation("<image>\nRead.", text)},
    "Qwen's mark": lambda n, text: {
        "image": f"{n}.png",
        "messages": conversation("<|vision_start|><|image_pad|><|vision_end|>Read.", text),
    },
    "path in the part": lambda n, text: {"messages": conversation([{"type": "image", "image": f"{n}.png"}, TEXT], text)},
    "url in the part": lambda n, text: {"messages": conversation([{"type": "image", "url": f"{n}.png"}, TEXT], text)},
    "OpenAI's": lambda n, text: {
        "messages": conversation(
            [{"type": "image_url", "image_url": {"url": as_data_uri(png(n))}}, TEXT], [TEXT | {"text": text}]
        )
    },
    "OpenAI's responses": lambda n, text: {
        "messages": conversation(
            [{"type": "input_image", "image_url": f"{n}.png"}, {"type": "input_text", "text": "Read."}],
            [{"type": "output_text", "text": text}],
        )
    },
    "Anthropic's": lambda n, text: {
        "messages": conversation(
            [{"type": "image", "source": {"type": "base64", "data": base64.b64encode(png(n)).decode()}}, TEXT], text
        )
    },
    "struct in the part": lambda n, text: {
        "messages": conversation([{"type": "image", "image": {"path": f"{n}.png", "bytes": None}}, TEXT], text)
    },
    "LLaVA": lambda n, text: {"id": str(n), "image": f"{n}.png", "conversations": llava("<image>\nRead.", text)},
    "LLaVA, mark at the end": lambda n, text: {"image": f"{n}.png", "conversations": llava("Read.\n<image>", text)},
    "ShareGPT with images": lambda n, text: {"images": [f"{n}.png"], "conversations": llava("<image>Read.", text)},
    "ms-swift": lambda n, text: {"query": "<image>Read.", "response": text, "images": [f"{n}.png"]},
    "prompt and completion": lambda n, text: {
        "images": [f"{n}.png"],
        "prompt": conversation("Read.", "")[:1],
        "completion": conversation("", text)[1:],
    },
    "path in the part and beside": lambda n, text: {
        "image": f"{n}.png",
        "messages": conversation([{"type": "image", "image": f"{n}.png"}, TEXT], text),
    },
    "columns of any name": lambda n, text: {
        "image": f"{n}.png",
        "messages": conversation("Read.", text),
        "where": 1,
        "folders": 2,
    },
    "as JSON text": lambda n, text: {"image": f"{n}.png", "messages": json.dumps(conversation("Read.", text))},
}


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_conversations(recipe, tmp_path: Path, kind: str, suffix: str):
    save_pictures(tmp_path)
    rows = [MESSAGES[kind](number, text) for number, text in enumerate(TEXTS)]
    path = tmp_path / f"data.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        write_jsonl(path, rows)
    rows = load(recipe, path)
    assert shown(recipe, rows) == EXPECTED
    for row in rows:
        content = row["messages"][0]["content"]
        parts = [{"type": "image"}, {"type": "text", "text": content}] if isinstance(content, str) else content
        assert sum(part["type"] == "image" for part in parts) == 1
        assert "".join(part.get("text", "") for part in parts).strip() == "Read."


def test_pictures_stand_where_their_marks_do(recipe, tmp_path: Path):
    save_pictures(tmp_path)
    turns = [*llava("First <image> then <image>?", "the first"), *llava("And <image>?", "the third")]
    rows = [{"image": ["0.png", "1.png", "2.png"], "conversations": turns}] * 4
    row = load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))[0]
    image = {"type": "image"}
    text = [{"type": "text", "text": text} for text in ("First ", " then ", "?", "And ")]
    assert row["messages"][0]["content"] == [text[0], image, text[1], image, text[2]]
    assert row["messages"][2]["content"] == [text[3], image, text[2]]
    assert shown(recipe, [row]) == [([0, 1, 2], "the third")]


COUNTS: dict[str, tuple[dict, str]] = {
    "a mark too many": ({"image": "0.png", "conversations": llava("<image><image>?", "a")}, "places for 2"),
    "a mark without a picture": ({"conversations": llava("<image>?", "a")}, "places for 1"),
    "a picture too many": ({"images": ["0.png", "1.png"], "messages": conversation("<image>?", "a")}, "places for 1"),
    "a mark in an answer": ({"image": "0.png", "conversations": llava("Read.", "<image>a")}, "message 2: "),
    "a mark in capitals": (
        {"image": "0.png", "conversations": llava("<IMAGE>Read.", "a")},
        "message 1: `<IMAGE>`, with which other",
    ),
    "InternVL's mark": (
        {"image": "0.png", "conversations": llava("<img>\nRead.", "a")},
        "message 1: `<img>`, with which other",
    ),
    "a numbered mark": ({"images": ["0.png"], "messages": conversation("See <image_1>.", "a")}, "message 1: `<image_1>`, with"),
    "Phi's mark": ({"images": ["0.png"], "messages": conversation("<|image_1|>?", "a")}, "message 1: `<|image_1|>`, with"),
    "Qwen's mark in an answer": ({"image": "0.png", "text": "a<|image_pad|>b"}, "`<|image_pad|>`"),
    "Qwen's mark of videos": ({"image": "0.png", "messages": conversation("<|video_pad|>?", "a")}, "`<|video_pad|>`"),
    "a mark in the system's words": (
        {"image": "0.png", "messages": [{"role": "system", "content": "<image>"}, *conversation("?", "a")]},
        "message 1: ",
    ),
    "videos beside": ({"image": "0.png", "text": "a", "videos": ["a.mp4"]}, "there is a `videos`, which"),
    "a video": (
        {"messages": conversation([{"type": "video", "video": "a.mp4"}, TEXT], "a")},
        "message 1: a part of type `video`",
    ),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_marks_and_pictures_are_counted_before_training(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, kind: str):
    save_pictures(tmp_path)
    good = [{"image": f"{number}.png", "text": text} for number, text in enumerate(TEXTS)]
    odd, line = COUNTS[kind]
    path = write_jsonl(tmp_path / "data.jsonl", [*good, odd])
    with pytest.raises(SystemExit) as ended:
        load(recipe, path)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}, line 7: ")
    assert line in error
    assert len(load(recipe, path, skip_bad_rows=True)) == COUNT


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


# --- Folders ------------------------------------------------------------------------------------------------------------


def parts_of(recipe: dict, name: object, **settings) -> dict[str, list[str]]:
    args = recipe["data"].OcrArguments(**({"dataset_name": str(name), "num_held_out": 9} | settings))
    train, validation, held_out = recipe["data"].load_data(args, 0)
    parts = {"train": train, "validation": validation, "test": held_out["held_out"]}
    return {part: sorted(row["messages"][-1]["content"] for row in rows) for part, rows in parts.items()}


def metadata(folder: Path, part: str) -> None:
    rows = [{"file_name": name, "text": f"{part} {name}"} for name in save_pictures(folder / part, ["0.png", "1.png"])]
    write_jsonl(folder / part / "metadata.jsonl", rows)


def one_metadata(folder: Path, part: str) -> None:
    names = save_pictures(folder / part, ["0.png", "1.png"])
    with (folder / "metadata.jsonl").open("a") as file:
        file.writelines(json.dumps({"file_name": f"{part}/{name}", "text": f"{part} {name}"}) + "\n" for name in names)


def tables(folder: Path, part: str) -> None:
    names = save_pictures(folder / "images" / part, ["0.png", "1.png"])
    write_jsonl(folder / f"{part}.jsonl", [{"image": f"images/{part}/{name}", "text": f"{part} {name}"} for name in names])


def ground_truth(folder: Path, part: str) -> None:
    for name in save_pictures(folder / part, ["0.png", "1.png"]):
        (folder / part / name).with_suffix(".gt.txt").write_text(f"{part} {name}\n")


def in_parquet(folder: Path, part: str) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    columns = {"image": [{"bytes": png(n), "path": None} for n in range(2)], "text": [f"{part} {n}.png" for n in range(2)]}
    rows = Dataset.from_dict(columns, features=Features({"image": ImageFeature(), "text": Value("string")}))
    rows.to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")


def paddle(folder: Path, part: str) -> None:
    names = save_pictures(folder / part, ["0.png", "1.png"])
    lines = [f"{part}/{name}\t{part} {name}" for name in names]
    (folder / f"rec_gt_{part}.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("validation", ["validation", "val", "dev"])
@pytest.mark.parametrize("write", [metadata, one_metadata, tables, ground_truth, in_parquet, paddle])
def test_the_users_own_splits_are_taken(recipe, tmp_path: Path, write: Callable[[Path, str], None], validation: str):
    for part in ("train", validation, "test"):
        write(tmp_path / "data", part)
    expected = {"train": "train", "validation": validation, "test": "test"}
    found = parts_of(recipe, tmp_path / "data")
    assert found == {part: [f"{name} 0.png", f"{name} 1.png"] for part, name in expected.items()}


def test_the_test_split_chooses_nothing(recipe, tmp_path: Path):
    for part in ("train", "test"):
        metadata(tmp_path / "data", part)
    found = parts_of(recipe, tmp_path / "data")
    assert found["test"] == ["test 0.png", "test 1.png"]
    assert sorted(found["train"] + found["validation"]) == ["train 0.png", "train 1.png"]
    assert len(found["validation"]) == 1


def test_parts_are_given_by_flags(recipe, tmp_path: Path):
    for part in ("train", "mine", "yours"):
        metadata(tmp_path, part)
    given = {"validation_dataset_name": str(tmp_path / "mine"), "test_dataset_name": str(tmp_path / "yours")}
    assert parts_of(recipe, tmp_path / "train", **given) == {
        part: [f"{name} 0.png", f"{name} 1.png"]
        for part, name in (("train", "train"), ("validation", "mine"), ("test", "yours"))
    }


def test_paths_may_begin_elsewhere(recipe, tmp_path: Path):
    save_pictures(tmp_path / "elsewhere")
    rows = [{"image": f"{number}.png", "text": text} for number, text in enumerate(TEXTS)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    assert shown(recipe, load(recipe, path, image_folder=str(tmp_path / "elsewhere"))) == EXPECTED


def test_rows_of_a_group_stay_together(recipe, tmp_path: Path):
    save_pictures(tmp_path)
    rows = [{"image": f"{n % COUNT}.png", "text": f"{n}", "till": f"till {n % 5}"} for n in range(60)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    parts = parts_of(recipe, path, group_by="till", num_held_out=99)
    tills = [{int(text) % 5 for text in texts} for texts in parts.values()]
    assert sum(map(len, tills)) == len(set.union(*tills)) == 5
    assert sum(map(len, parts.values())) == 60


def test_the_same_picture_twice_is_counted_and_can_be_left_out(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Whatever its files are called."""
    for part, names in (("train", ["a.png", "b.png", "c.png", "d.png"]), ("validation", ["0.png"]), ("test", ["x.png"])):
        (tmp_path / part).mkdir()
        for number, name in enumerate(names):
            (tmp_path / part / name).write_bytes(png({"b.png": 0, "0.png": 9}.get(name, 2 if part == "test" else number)))
            text = "0" if name == "b.png" else f"{part} {name}" if name != "a.png" else "0"
            (tmp_path / part / name).with_suffix(".gt.txt").write_text(text)
    assert parts_of(recipe, tmp_path)["train"] == ["0", "0", "train c.png", "train d.png"]
    said = capsys.readouterr().out
    assert "1 of 4 training rows are the same as an earlier one: trained as they are" in said
    assert "1 training rows ask what is also measured: trained as they are" in said
    assert parts_of(recipe, tmp_path, drop_duplicates=True)["train"] == ["0", "train d.png"]


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


# --- SROIE --------------------------------------------------------------------------------------------------------------

FACTS = {"company": "ALDER BAKERY", "date": "01/02/2026", "address": "1 OAK STREET", "total": "1.80"}


def sroie_boxes(number: int) -> str:
    """As they are distributed: lines end with carriage returns, and texts have commas."""
    texts = ["ALDER BAKERY", "1 OAK STREET, TOWN", f"01/02/2026 #{number}", "1.80"]
    return "".join(
        f"10,{y},110,{y},110,{y + 20},10,{y + 20},{text}\r\n" for y, text in zip(range(10, 200, 30), texts, strict=False)
    )


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


# --- CORD and Donut -----------------------------------------------------------------------------------------------------

PARSES: dict[str, tuple[object, list[str]]] = {
    "all of CORD": (
        {
            "menu": [
                {"nm": "Tea", "num": "9", "unitprice": "2.00", "cnt": "2", "discountprice": "-1.00", "price": "3.00"},
                {"nm": "Cake", "cnt": "1", "price": "5.00", "sub": [{"nm": "cream", "unitprice": "0.50", "cnt": "1"}]},
            ],
            "void_menu": {"nm": "Milk", "price": "1.00"},
            "sub_total": {"subtotal_price": "8.00", "discount_price": "0.10", "etc": "0.20", "othersvc_price": "0.30"},
            "total": {"total_price": "8.40", "etc": "0.40", "menutype_cnt": "2", "creditcardprice": "8.41"},
        },
        "Tea 9 2.00 2 -1.00 3.00 Cake 1 5.00 cream 0.50 Milk 1.00 8.00 0.10 0.20 0.30 8.40 0.40 8.41".split(),
    ),
    "Donut's own": (
        {"invoice": {"number": "A-17", "lines": [{"what": "Tea", "sum": 3}, {"what": "Cake", "sum": 5}]}, "paid": True},
        ["A-17", "Tea", "3", "Cake", "5", "true"],
    ),
    "a class": ({"class": "invoice"}, ["invoice"]),
    "a text": ({"text_sequence": "all of\nthe page"}, ["all of\nthe page"]),
}


@pytest.mark.parametrize("kind", PARSES)
@pytest.mark.parametrize("as_text", [True, False])
def test_every_field_of_a_ground_truth_is_kept(recipe, tmp_path: Path, kind: str, as_text: bool):
    save_pictures(tmp_path, [f"{number}.png" for number in range(4)])
    parse, values = PARSES[kind]
    truths = [{"gt_parse": parse}, *({"gt_parse": {"menu": {"nm": f"other {number}"}}} for number in range(3))]
    rows = [
        {"file_name": f"{number}.png", "ground_truth": json.dumps(truth) if as_text else truth}
        for number, truth in enumerate(truths)
    ]
    write_jsonl(tmp_path / "metadata.jsonl", rows)
    found = load(recipe, tmp_path)[0]["messages"][-1]["content"]
    assert all(value in found for value in values), found
    if kind == "a text":
        assert found == values[0]


def test_questions_about_a_document(recipe, tmp_path: Path):
    save_pictures(tmp_path)
    parses = [{"question": "what date?", "answer": "May 1"}, {"question": "what sum?", "answer": "8.40"}]
    rows = [{"file_name": f"{number}.png", "ground_truth": json.dumps({"gt_parses": parses})} for number in range(4)]
    write_jsonl(tmp_path / "metadata.jsonl", rows)
    found = load(recipe, tmp_path, num_held_out=9)
    assert len(found) == 8
    assert {(row["messages"][0]["content"], row["messages"][1]["content"]) for row in found} == {
        ("what date?", "May 1"),
        ("what sum?", "8.40"),
    }


# --- Kinds of pictures --------------------------------------------------------------------------------------------------


def test_all_pages_of_a_tiff_are_read(recipe, tmp_path: Path):
    pages = [Image.new("RGB", (60 + number, 30), "white") for number in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    save_pictures(tmp_path)
    rows = [{"image": f"{number}.png", "text": text} for number, text in enumerate(TEXTS)]
    path = write_jsonl(tmp_path / "data.jsonl", [*rows, {"image": "pages.tif", "text": "three pages"}])
    assert ([0, 1, 2], "three pages") in shown(recipe, load(recipe, path))


def test_boxes_on_several_pages_are_refused(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    page = Image.new("RGB", (200, 300), "white")
    page.save(tmp_path / "0.tif", save_all=True, append_images=[page])
    (tmp_path / "0.txt").write_text(sroie_boxes(0))
    with pytest.raises(SystemExit):
        load(recipe, tmp_path)
    assert f"error: {tmp_path}/0.tif: 0.tif has several pages, and boxes do not say on which" in capsys.readouterr().err


def test_a_picture_damaged_in_its_middle_is_found_before_training(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    save_pictures(tmp_path)
    noise = Image.effect_noise((200, 200), 50)
    for name in ("2.png", "4.png"):
        noise.save(tmp_path / name)
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (tmp_path / name).write_bytes(content)
    path = write_jsonl(tmp_path / "data.jsonl", [{"image": f"{n}.png", "text": text} for n, text in enumerate(TEXTS)])
    with pytest.raises(SystemExit):
        load(recipe, path)
    assert f"error: {path}, line 3: {tmp_path}/2.png is damaged" in capsys.readouterr().err
    assert len(load(recipe, path, skip_bad_rows=True)) == 4
    assert "Left out 2 of 6 rows" in capsys.readouterr().out


def test_an_evaluation_asks_as_the_run_did(tmp_path: Path, capsys: pytest.CaptureFixture):
    settings = {"question": "What stands here?", "min_pixels": 1000, "max_pixels": 30_000, "dataset_name": "my_lines"}
    record = {"recipe": "ocr_vision_language", "settings": settings, "world_size": 1}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with recipe_modules("ocr_vision_language", ["arguments", "evaluate"]) as modules:
        script, arguments = modules["evaluate"].__file__, modules["arguments"]
        argv = ["--model_name_or_path", str(tmp_path)]
        args, _, _ = parse(script, arguments.OcrArguments, SFTConfig, argv, refused=arguments.REFUSED)
        assert {name: vars(args)[name] for name in settings} == settings
        args, _, _ = parse(script, arguments.OcrArguments, SFTConfig, [*argv, "--question", "?"], refused=arguments.REFUSED)
        assert (args.question, args.max_pixels) == ("?", 30_000)


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
