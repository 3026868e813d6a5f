"""Conversations with thoughts: files of one's own, and MGSM."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from common.data.formats import recognise

import pytest
from conftest import recipe_modules

MGSM = Path(__file__).parents[3] / "shared" / "data" / "mgsm"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    with recipe_modules("gpt_oss_multilingual", ["data", "mgsm", "lesson.synthetic"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def data(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["data"]


# --- Files ----------------------------------------------------------------------------------------------------------------

THOUGHT = {"role": "assistant", "thinking": "Je compte les pommes.", "content": "Three."}
USER = {"role": "user", "content": "How many apples?"}


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def arguments(data: ModuleType, **settings):
    return data.MultilingualArguments(**{"dataset_name": "synthetic", "num_train": 600, "num_held_out": 60} | settings)


def question(row: dict) -> str:
    return row["messages"][-2]["content"]


@pytest.mark.parametrize(
    ("row", "system"),
    [
        pytest.param(
            {"messages": [{"role": "system", "content": "reasoning language: French\n\nBe brief."}, USER, THOUGHT]},
            "reasoning language: French\n\nBe brief.",
            id="in the system message",
        ),
        pytest.param(
            {"messages": [USER, THOUGHT], "thinking_language": "french"}, "reasoning language: French", id="in a column"
        ),
        pytest.param(
            {"messages": [{"role": "system", "content": "Be brief."}, USER, THOUGHT], "reasoning_language": "French"},
            "reasoning language: French\n\nBe brief.",
            id="in a column, with a system message",
        ),
        pytest.param(
            {
                # As HuggingFaceH4/Multilingual-Thinking writes it, with keys that Arrow has filled up.
                "reasoning_language": "French",
                "developer": "Be brief.",
                "user": "How many apples?",
                "analysis": "Je compte les pommes.",
                "final": "Three.",
                "messages": [
                    {"role": "system", "content": "reasoning language: French\n\nBe brief.", "thinking": None},
                    {**USER, "thinking": None},
                    THOUGHT,
                ],
            },
            "reasoning language: French\n\nBe brief.",
            id="Multilingual-Thinking",
        ),
    ],
)
def test_rows_of_ones_own(data: ModuleType, row: dict, system: str):
    found = data.convert(recognise(row), row)
    assert found["messages"] == [{"role": "system", "content": system}, USER, THOUGHT]
    assert found["thinking_language"] == "French"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"prompt": "?"},
            "no `answer` (found: prompt); write `question` and `answer`, or `messages`, or name the column with "
            "`--columns answer=...`",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "Three."}], "thinking_language": "French"},
            "the last message must be the assistant's, with its thought in `thinking`: it is what is learned",
        ),
        (
            {"messages": [THOUGHT, USER], "thinking_language": "French"},
            "the last message must be the assistant's, with its thought in `thinking`: it is what is learned",
        ),
        (
            {"messages": [USER, THOUGHT]},
            "no language to think in; add `reasoning language: X` to the system message, or a `thinking_language`",
        ),
        ({"messages": [USER, THOUGHT], "thinking_language": "Frnech"}, "unknown language `Frnech`; did you mean `French`?"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    data: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict, line: str
):
    good = [
        {"messages": [{"role": "user", "content": asked}, THOUGHT], "thinking_language": "French"}
        for asked in ("1?", "2?", "3?")
    ]
    path = write(tmp_path / "rows.jsonl", good[0], row, *good[1:])
    with pytest.raises(SystemExit) as ended:
        data.load_data(arguments(data, dataset_name=path, num_train=0, num_held_out=1), seed=0)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {path}, line 2: {line}\n"
    skipping = arguments(data, dataset_name=path, num_train=0, num_held_out=1, skip_bad_rows=True)
    train, validation, held_out = data.load_data(skipping, seed=0)
    assert (len(train), len(validation), len(held_out["held_out"])) == (1, 1, 1)
    assert f"Left out 1 of 4 rows of {path} (train). The first: {path}, line 2: {line}" in capsys.readouterr().out


def in_languages(asked: dict[str, list[int]]) -> list[dict]:
    return [
        {"messages": [{"role": "user", "content": f"How many are {n}?"}, THOUGHT], "thinking_language": language}
        for language, numbers in asked.items()
        for n in numbers
    ]


@pytest.mark.parametrize("parallel", [True, False], ids=["the same questions", "other questions"])
def test_some_languages_of_a_file_are_trained(data: ModuleType, tmp_path: Path, parallel: bool):
    numbers = {"German": range(40), "French": range(40), "Spanish": range(40)}
    if not parallel:
        numbers = {"German": range(40), "French": range(40, 80), "Spanish": range(80, 120)}
    path = write(tmp_path / "rows.jsonl", *in_languages(numbers))
    settings = {"dataset_name": path, "num_train": 0, "num_held_out": 4, "thinking_languages": ["German"]}
    train, validation, held_out = data.load_data(arguments(data, **settings), seed=0)
    assert {row["thinking_language"] for row in [*train, *validation, *held_out["held_out"]]} == {"German"}
    assert [len(validation), len(held_out["held_out"])] == [4, 4]
    assert {row["thinking_language"] for row in held_out["other_languages"]} == {"French", "Spanish"}
    assert len(held_out["other_languages"]) == 4
    mixed, _, same = data.load_data(arguments(data, **settings, other_share=0.5), seed=0)
    assert same == held_out
    assert Counter(row["thinking_language"] == "German" for row in mixed) == {True: len(train), False: len(train)}
    # What is held out in one language is trained in none.
    trained = {question(row) for row in mixed}
    assert not trained & {question(row) for rows in held_out.values() for row in rows}
    assert not trained & {question(row) for row in validation}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"num_held_out": 0}, "num_held_out is 0: without held-out problems nothing can be measured; use at least 1"),
        ({"num_train": 0}, "num_train is 0: say how many problems to generate, for example --num_train 19200"),
        ({"num_held_out": 10**6}, "num_held_out is 1000000: there are ... problems; hold out at most ..."),
        ({"other_share": 1.0}, "other_share is 1; use at least 0 and less than 1"),
        ({"thinking_languages": ["Greeek"]}, "thinking_languages: unknown language `Greeek`; did you mean `Greek`?"),
        (
            {"thinking_languages": ["French"]},
            "thinking_languages: no problems are generated in French; there is: "
            "English, Russian, Greek, Chinese, Hindi, Korean",
        ),
    ],
)
def test_settings_that_cannot_be(data: ModuleType, capsys: pytest.CaptureFixture[str], settings: dict, line: str):
    with pytest.raises(SystemExit) as ended:
        data.load_data(arguments(data, **settings), seed=0)
    assert ended.value.code == 2
    expected = re.escape(f"error: {line}\n").replace(re.escape("..."), r"\d+")
    assert re.fullmatch(expected, capsys.readouterr().err)


# --- MGSM -----------------------------------------------------------------------------------------------------------------


def test_mgsm_is_asked_in_every_language_and_thought_through_in_turn(data: ModuleType, tmp_path: Path):
    (tmp_path / "mgsm_en.tsv").write_text("How many?\t1,200\nAnd now?\t3\n", encoding="utf-8")
    (tmp_path / "mgsm_de.tsv").write_text("Wie viele?\t1,200\nUnd jetzt?\t3\n", encoding="utf-8")
    train, _, held_out = data.load_data(arguments(data, dataset_name=str(tmp_path), num_train=0), seed=0)
    assert train == []
    assert list(held_out) == ["mgsm"]
    rows = held_out["mgsm"]
    assert [question(row) for row in rows] == ["Wie viele?", "How many?", "Und jetzt?", "And now?"]
    assert [row["messages"][-1]["content"] for row in rows] == ["1,200", "1,200", "3", "3"]
    assert [row["question_language"] for row in rows] == ["German", "English"] * 2
    assert [row["thinking_language"] for row in rows] == ["German", "English", "English", "German"]
    assert rows[1]["messages"][0] == {"role": "system", "content": "reasoning language: English"}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("mgsm_en.tsv", "How many?\t3\nNo answer\n", "{path}, line 2: not a problem, a tab and a number; correct or remove it"),
        ("mgsm_en.tsv", "How many?\tthree\n", "{path}, line 1: not a problem, a tab and a number; correct or remove it"),
        ("mgsm_xx.tsv", "?\t3\n", "{path}: unknown language code `xx`; there is: bn, de, en, es, fr, ja, ru, sw, te, th, zh"),
    ],
)
def test_files_that_are_not_mgsm(
    modules: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, line: str
):
    (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit):
        modules["mgsm"].load_mgsm(tmp_path, [])
    assert capsys.readouterr().err == f"error: {line.format(path=tmp_path / name)}\n"


@pytest.mark.skipif(not MGSM.exists(), reason=f"needs the files of MGSM in {MGSM}")
def test_all_of_mgsm_is_read(data: ModuleType):
    args = arguments(data, dataset_name=str(MGSM), num_held_out=10**6, thinking_languages=["French", "Greek", "Korean"])
    rows = data.load_data(args, seed=0)[2]["mgsm"]
    assert len(rows) == 250 * len(list(MGSM.glob("mgsm_*.tsv")))
    pairs = Counter((row["question_language"], row["thinking_language"]) for row in rows)
    assert len(pairs) == 3 * len(list(MGSM.glob("mgsm_*.tsv")))
    assert min(pairs.values()) >= 83
    first = next(row for row in rows if row["question_language"] == "English")
    assert "ducks" in question(first)
    assert first["messages"][-1]["content"] == "18"
