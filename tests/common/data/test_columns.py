"""Which column is what: by its heading, by a flag, or refused; and what was recognised is said."""

import json
from pathlib import Path

from common.data.arguments import DataArguments
from common.data.columns import read_columns
from common.data.conversations import check_conversation, load_conversations
from common.data.formats import recognise
from common.errors import BadRow

import pytest
from conversation_rows import ASK, CALLED, TOOL, messages_of, said


def test_columns_are_named_by_a_flag():
    mapped = read_columns(["question=Frage", "answer=Antwort"])
    assert said({"Frage": "A?", "Antwort": "B", "answer": "C", "messages": "D"}, **mapped) == [
        ("user", "A?"),
        ("assistant", "B"),
    ]
    assert said({"frage": "A?", "antwort": "B"}, **mapped) == [("user", "A?"), ("assistant", "B")]  # a csv's are in lower case
    chosen = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B"}]
    assert messages_of({"prompt": "A?", "chosen": chosen, "rejected": []}, messages="chosen") == chosen
    assert said({"prompt": "A?", "chosen": "B", "rejected": "C"}, answer="chosen")[1] == ("assistant", "B")


def test_a_label_that_is_the_answer_or_none_of_kto():
    row = {"prompt": "Is it?", "completion": "No.", "label": False}
    assert said(row, answer="label")[1] == ("assistant", "false")
    assert said(row, answer="completion")[1] == ("assistant", "No.")
    assert said(row | {"label": True})[1] == ("assistant", "No.")


def test_of_two_columns_with_one_heading_the_named_or_the_filled_one_is_read():
    row = {"question": "A?", "answer": "B", "Answer": "C"}
    assert said(row, answer="Answer")[1] == ("assistant", "C")
    assert said(row, answer="answer")[1] == ("assistant", "B")
    assert said(row | {"gold": "D"}, answer="gold")[1] == ("assistant", "D")
    assert said(row | {"ANSWER": "D"}, answer="ANSWER")[1] == ("assistant", "D")
    assert said({"question": "A?", "answer": "B", "path": "a", "Path": "b"})[1] == ("assistant", "B")
    for other in ("", " ", None, "B", "B "):
        for filled in ({"answer": "B", "Answer": other}, {"Answer": other, "answer": "B"}):
            assert said({"question": "A?"} | filled)[1][1].strip() == "B"
    for empty in ({"answer": "B", "Answer": ""}, {"Answer": "", "answer": "B"}):
        with pytest.raises(BadRow, match="`Answer` is empty"):
            said({"question": "A?"} | empty, answer="Answer")


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            ["question"],
            "columns question: write what it is and the column, for example `--columns question=Frage answer=Antwort`",
        ),
        (["qestion=a"], "columns qestion=a: there is no `qestion`; did you mean `question`?"),
    ],
)
def test_columns_that_cannot_be(columns: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        read_columns(columns)
    assert capsys.readouterr().err.startswith(f"error: {line}".removesuffix("...`"))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"question": "A?", "answer": "B", "Answer": "C"},
            "`answer` and `Answer` are one heading with two values: rename",
        ),
        ({"prompt": "A?", "completion": "B", "label": False}, "`label` is false, KTO's mark of an unwanted answer; leave such"),
        ({"prompt": "A?", "completion": "B", "label": 0}, "`label` is 0, KTO's mark of an unwanted answer; leave such"),
        ({"question": "A?", "answer": "B", "response": "C"}, "`answer` and `response` can both be the answer: say which, for"),
        (
            {"prompt": "A?", "query": "B?", "answer": "C"},
            "`prompt` and `query` can both be the question: say which, for example",
        ),
        ({"text": "A"}, "no `question` (found: text); write `question` and `answer`, or `messages`, or name the column with"),
        (
            {"instruction": "A", "input": "", "ouput": "B"},
            "no `answer`, but `ouput`; did you mean `output`? Rename it, or name it with `--columns`",
        ),
        ({"Mesages": [ASK]}, "no `question`, but `Mesages`; did you mean `messages`? Rename it, or name it with `--columns`"),
        ({"question": "A", "answerKey": "B"}, "no `answer` (found: question, answerKey); write `question` and `answer`"),
        ({"conversations": [{"from": "gtp", "value": "A"}]}, "message 1: unknown role `gtp`; did you mean `gpt`?"),
        ({"question": "A?", "answer": ""}, "`answer` is empty; fill it in or remove the row"),
        ({"question": "A?", "answer": float("nan")}, "`answer` is empty; fill it in or remove the row"),
        ({"question": "A?", "answer": {"text": "B"}}, "`answer` must be a text, not a dict; write one, or remove the row"),
        ({"question": "A?", "answer": "B", "history": "C"}, "`history` is no list; write [[question, answer], ...]"),
        ({"question": "A?", "answer": "B", "history": ["C"]}, "`history`, pair 1: not a question and an answer; write"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "B"}]},
            "message 1: a part of type `image_url`, and this recipe reads texts alone; remove the part or the row",
        ),
        (
            {"messages": [ASK, {"role": "assistant", "content": "B", "weight": 0.5}]},
            "message 2: `weight` is 0.5; write 1 for what is trained, 0 for what is only shown",
        ),
        (
            {"messages": [{"role": "user", "content": [None]}, {"role": "assistant", "content": "B"}]},
            "message 1: a part without",
        ),
        ({"messages": [ASK, {"role": "assistant", "content": "B", "weight": 0}]}, "every assistant turn has the weight 0, so"),
        (
            {"messages": [ASK, {"role": "assistant", "content": "A <tool_call>f()</tool_call>"}]},
            "message 2: a call that is not JSON with a name and arguments ('f()'); correct it, or remove the row",
        ),
        (
            {"prompt": "A?", "completion": [ASK, {"role": "assistant", "content": "B"}]},
            "`completion` holds a whole conversation: say so, `--columns messages=completion`",
        ),
        (
            {"question": "A?", "choices": ["Oslo", "Rome"], "answer": 1},
            "`1` answers by its place in `choices`, which the model is not shown; write them into the question",
        ),
        ({"question": "A?", "choices": {"text": ["Oslo", "Rome"], "label": ["A", "B"]}, "answer": "B"}, "`B` answers by its"),
        ({"question": "A?", "options": "['Oslo', 'Rome']", "answer": "B"}, "`B` answers by its place in `options`, which"),
        ({"question": "A?", "answers": {"text": ["B"], "answer_start": [1]}}, "`answers` holds no calls of tools; write the"),
        ({"query": "A?", "answers": "[]", "tools": [TOOL]}, "`answers` holds no calls of tools; write the answer that is to"),
        ({"chat": "Hello there", "id": 1}, "a conversation as one text must begin with `USER:` or `SYSTEM:`"),
    ],
)
def test_rows_that_are_refused(row: dict, line: str):
    with pytest.raises(BadRow) as refused:
        check_conversation(recognise(row).conversation)
    assert str(refused.value).startswith(line)


def test_what_was_recognised_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "data.jsonl"
    rows = [
        {"instruction": "Name it.", "input": "", "output": "Oslo", "id": 1},
        {"instruction": "a", "input": "b", "output": "c"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"messages": CALLED, "tools": [TOOL]}]))
    load_conversations(DataArguments(dataset_name=str(path)))
    assert capsys.readouterr().out == (
        f"{path}: 2 rows of questions and answers (instruction, output, input; not read: id). The first: user: Name it. | "
        f"assistant: Oslo\n{path}: 1 rows of conversations (messages, tools). The first: user: Weather in Oslo? | assistant: "
        "get_weather({'city': 'Oslo'})\n"
    )
