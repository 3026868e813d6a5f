"""Conversations about pictures, and what CORD and Donut say of them: each picture in its place, nothing left away."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import recipe_modules
from ocr_files import COUNT, EXPECTED, TEXTS, as_data_uri, load, png, save_pictures, shown, write_jsonl

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


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
    "FineVision": lambda n, text: {"images": [f"{n}.png"], "texts": [{"user": "Read.", "assistant": text}], "source": "a"},
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
    "a picture under another name": (
        {"screenshot": "0.png", "question": "Read.", "answer": "a"},
        "no picture is read, and `screenshot` holds one: say so, `--columns image=screenshot`, or leave the column away",
    ),
    "a numbered picture beside": (
        {"image": "0.png", "image_2": "1.png", "question": "What differs?", "answer": "a"},
        "`image_2` is not read beside the row's picture: write all into a list `images`, or leave it away",
    ),
    "a numbered list of pictures beside": (
        {"image": "0.png", "image_2_path": ["1.png"], "question": "What differs?", "answer": "a"},
        "`image_2_path` is not read beside",
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
