"""Generated problems, thought through in a language: what a seed changes, what is held out, what is trained."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

from common.data.tokens import show_trained, tokenize
from common.models.load import load_tokenizer

import pytest
from conftest import recipe_modules
from trl import ModelConfig


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    with recipe_modules("gpt_oss_multilingual", ["data", "mgsm", "lesson.synthetic"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def data(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["data"]


def arguments(data: ModuleType, **settings):
    return data.MultilingualArguments(**{"dataset_name": "synthetic", "num_train": 600, "num_held_out": 60} | settings)


def question(row: dict) -> str:
    return row["messages"][-2]["content"]


def test_thought_and_answer_say_what_is_right(modules: dict[str, ModuleType]):
    for row in modules["synthetic"].ask_in_turn(modules["synthetic"].all_problems()[:600], modules["synthetic"].LANGUAGES):
        last = row["messages"][-1]
        sums = re.findall(r"(\d+)([+-])(\d+)=(\d+)", last["thinking"])
        assert len(sums) == 2
        for first, sign, second, result in sums:
            assert int(result) == (int(first) + int(second) if sign == "+" else int(first) - int(second))
        assert sums[0][3] == sums[1][0]
        assert re.findall(r"\d+", question(row)) == [sums[0][0], sums[0][2], sums[1][2]]
        assert re.findall(r"\d+", last["content"]) == [sums[1][3]]
        assert row["messages"][0]["content"] == f"reasoning language: {row['thinking_language']}"


def test_the_two_languages_are_independent(data: ModuleType, modules: dict[str, ModuleType]):
    trained = ["English", "Greek", "Hindi"]
    train, _, held_out = data.load_data(arguments(data, num_train=9000, thinking_languages=trained), seed=0)
    pairs = Counter((row["question_language"], row["thinking_language"]) for row in train)
    languages = modules["synthetic"].LANGUAGES
    assert set(pairs) == {(asked, thought) for asked in languages for thought in trained}
    assert max(pairs.values()) < 1.4 * min(pairs.values())
    even = Counter((row["question_language"], row["thinking_language"]) for row in held_out["held_out"])
    assert set(even.values()) in ({3, 4}, {3}, {4})


def test_a_held_out_problem_is_trained_in_no_language(data: ModuleType, modules: dict[str, ModuleType]):
    synthetic = modules["synthetic"]
    train, validation, held_out = data.load_data(arguments(data, num_train=6000), seed=0)
    assert "other_languages" not in held_out
    assert len(validation) == 60
    asked = {
        question(synthetic.to_conversation(problem, language, "English"))
        for problem in synthetic.all_problems()[:60]
        for language in synthetic.LANGUAGES
    }
    assert {question(row) for row in held_out["held_out"]} <= asked
    assert not asked & {question(row) for row in train + validation}
    everything = synthetic.all_problems()
    written = {
        question(synthetic.to_conversation(p, language, "English")): p for p in everything for language in synthetic.LANGUAGES
    }
    assert not {written[question(row)] for row in train} & {written[question(row)] for row in validation}


def test_languages_that_are_not_trained_make_a_set_of_their_own(data: ModuleType):
    def languages(rows: list[dict]) -> set[str]:
        return {row["thinking_language"] for row in rows}

    train, _, held_out = data.load_data(arguments(data, thinking_languages=["Korean"]), seed=0)
    assert languages(train) == languages(held_out["held_out"]) == {"Korean"}
    assert languages(held_out["other_languages"]) == {"English", "Russian", "Greek", "Chinese", "Hindi"}

    train, _, held_out = data.load_data(arguments(data, thinking_languages=["Korean"], other_share=0.25), seed=0)
    assert len(train) == 600
    assert sum(row["thinking_language"] != "Korean" for row in train) == 150
    # They come mixed, not one kind after the other.
    assert any(row["thinking_language"] != "Korean" for row in train[:30])


def test_a_seed_changes_the_training_and_not_what_is_held_out(data: ModuleType):
    first, second, again = (data.load_data(arguments(data), seed=seed) for seed in (0, 1, 0))
    assert first == again
    assert first[0] != second[0]
    assert first[2] == second[2]


def test_only_thought_and_answer_are_trained(data: ModuleType):
    args = arguments(data, num_train=20)
    train, _, _ = data.load_data(args, seed=0)
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:gpt_oss"), data.texts(train, args), data.read_date(args))
    rows = tokenize(train, tokenizer, 160, where="train")
    last = train[0]["messages"][-1]
    text = show_trained(rows[0], tokenizer)
    assert "Current date: 2025-08-05" in text
    assert f"{train[0]['messages'][0]['content']}\n\n<|end|><|start|>user<|message|>{question(train[0])}<|end|>" in text
    assert text.endswith(
        f"<|start|>assistant»<|channel|>analysis<|message|>{last['thinking']}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{last['content']}<|return|>«"
    )


def test_the_date_is_the_one_that_is_given(data: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    args = ModelConfig(model_name_or_path="tiny:gpt_oss")
    tokenizer = load_tokenizer(args, ["one two"], date(2031, 1, 2))
    messages = [{"role": "user", "content": "one"}]
    assert "Current date: 2031-01-02\n" in tokenizer.apply_chat_template(messages, tokenize=False)
    # It is one token with the rest of what the template always says, and it is saved with the tokenizer.
    assert len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)) < 20
    assert data.read_date(arguments(data, current_date="2031-01-02")) == date(2031, 1, 2)
    with pytest.raises(SystemExit):
        data.read_date(arguments(data, current_date="tomorrow"))
    assert capsys.readouterr().err == "error: current_date tomorrow is not a date; write it like 2025-08-05\n"
