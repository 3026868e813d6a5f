"""The data and the metrics of sft_instruct, on their own."""

import json
from pathlib import Path
from types import SimpleNamespace

from common.models.load import load_tokenizer

import pytest
from conftest import ROOT, recipe_modules
from trl import ModelConfig


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("sft_instruct", ["data", "metrics", "evaluate", "lesson.letters"]) as modules:
        yield modules


def load(recipe, **settings):
    data = recipe["data"]
    return data.load_data(data.InstructArguments(**settings), seed=0)


def pairs(conversations: list) -> set[tuple[str, str]]:
    return {(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in conversations}


def test_held_out_questions_are_never_trained_on(recipe):
    train, validation, held_out = load(recipe, dataset_name="synthetic")
    questions = {question for question, _ in pairs(train + validation)}
    assert len(questions) == len(train + validation) == 3200
    assert {name: len(rows) for name, rows in held_out.items()} == {"held_out": 400, "unseen_facts": 400}
    for rows in held_out.values():
        assert len(pairs(rows)) == 400
        assert not {question for question, _ in pairs(rows)} & questions


def test_unseen_facts_come_from_letters_that_were_never_read(recipe):
    facts, unseen = recipe["letters"].generate_facts()
    assert len(facts) == len(unseen) == 100
    assert not {(fact.company, fact.year) for fact in facts} & {(fact.company, fact.year) for fact in unseen}
    assert {fact.company for fact in unseen} == {fact.company for fact in facts}
    # Nor can an answer be guessed from the topic: the commonest one is right for few facts.
    for topic in {fact.topic for fact in facts}:
        values = [fact.value for fact in facts if fact.topic == topic]
        assert max(map(values.count, values)) <= 4


def test_every_fact_is_asked_in_wordings_that_were_not_trained(recipe):
    letters = recipe["letters"]
    assert len(letters.TRAINED_WORDINGS) == 30
    assert len(letters.HELD_OUT_WORDINGS) == 6
    assert not set(letters.TRAINED_WORDINGS) & set(letters.HELD_OUT_WORDINGS)
    train, _, _ = load(recipe, dataset_name="synthetic")
    _, validation, held_out = load(recipe, dataset_name="synthetic", num_held_out=599)
    assert len(validation) == 1
    assert len({answer for _, answer in pairs(held_out["held_out"])} - {answer for _, answer in pairs(train)}) == 0


def test_the_seed_changes_the_order_alone(recipe):
    data = recipe["data"]
    args = data.InstructArguments(dataset_name="synthetic")
    (first, *others), (second, *same) = (data.load_data(args, seed) for seed in (0, 1))
    assert first != second
    assert pairs(first) == pairs(second)
    assert others == same


HELD_OUT = ["6 * 3?", "6 * 130?", "6 * 149?"]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_files_of_questions_and_answers(recipe, tmp_path: Path, suffix: str):
    rows = [{"question": f"6 * {number}?", "answer": f"It is {6 * number}."} for number in range(200)]
    path = tmp_path / f"data{suffix}"
    text = {
        ".jsonl": "\n".join(map(json.dumps, rows)),
        ".json": json.dumps(rows),
        ".csv": "question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in rows),
    }[suffix]
    path.write_text(text)
    train, validation, held_out = load(recipe, dataset_name=str(path), num_held_out=3, system_prompt="Be brief.")
    assert [len(train), len(validation), len(held_out["held_out"])] == [166, 3, 3]
    found = {row["messages"][1]["content"]: row["messages"] for row in [*train, *validation, *held_out["held_out"]]}
    assert (
        found.items()
        <= {
            row["question"]: [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["answer"]},
            ]
            for row in rows
        }.items()
    )
    # The same rows from every format.
    assert [row["messages"][1]["content"] for row in held_out["held_out"]] == HELD_OUT


def test_a_split_named_test_is_held_out(recipe, tmp_path: Path):
    rows = [{"question": f"6 * {number}?", "answer": f"It is {6 * number}."} for number in range(4)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, validation, held_out = load(recipe, dataset_name=str(tmp_path), num_held_out=3)
    assert [len(train), len(validation), len(held_out["held_out"])] == [3, 1, 3]


@pytest.mark.parametrize(
    ("completion", "answer", "exact", "f1"),
    [
        ("Oslo", "Oslo", True, 1.0),
        ("the city of Oslo.", "City of Oslo", True, 1.0),
        ("$24 million", "24 million", True, 1.0),
        ("$24 million", "$42 million", False, 0.5),
        ("Anna Cole", "Anna", False, 2 / 3),
        ("", "Oslo", False, 0.0),
        ("", "The", False, 0.0),
        (" \n", "Oslo", False, 0.0),
        ("<think>Oslo or Rome?</think>\n\nOslo", "Oslo", True, 1.0),
        ("<think>Oslo", "Oslo", False, 0.0),
        ("我喜欢茶", "我喜欢咖啡", False, 2 / 3),
        ("Rome Rome", "Rome", False, 2 / 3),
    ],
)
def test_metrics(recipe, completion: str, answer: str, exact: bool, f1: float):
    metrics = recipe["metrics"]
    assert metrics.exact_match(completion, answer) is exact
    assert metrics.token_f1(completion, answer) == pytest.approx(f1)


def test_scores_are_made_of_texts(recipe):
    metrics = recipe["metrics"]
    asked = {"role": "user", "content": "Where?"}
    rows = [{"messages": [asked, {"role": "assistant", "content": answer}]} for answer in ("Oslo", "Anna", "Rome")]
    found, verdicts = metrics.score(rows, ["the Oslo", "Anna Cole", "?"])
    assert [verdict["correct"] for verdict in verdicts] == [True, False, False]
    assert [verdict["score"] for verdict in verdicts] == pytest.approx([1.0, 2 / 3, 0.0])
    assert {name: metric["value"] for name, metric in found.items()} == pytest.approx({"exact_match": 1 / 3, "token_f1": 5 / 9})


def test_the_last_turn_of_the_assistant_is_scored_whoever_speaks_last(recipe):
    messages = [
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "Paris"},
        {"role": "user", "content": "Of Norway?"},
        {"role": "assistant", "content": "Oslo"},
        {"role": "user", "content": "Thanks, bye"},
    ]
    _, verdicts = recipe["metrics"].score([{"messages": messages}] * 2, ["Oslo", "Thanks, bye"])
    assert [verdict["correct"] for verdict in verdicts] == [True, False]


@pytest.mark.parametrize(
    ("answer", "trained"),
    [
        ("6*7=<<6*7=42>>42 pens\n#### 42", "6*7=42 pens\n\\boxed{42}"),
        ("That is a lot.\n#### 1,200", "That is a lot.\n\\boxed{1200}"),
        ("It is \\boxed{\\frac{1}{2}}.", "It is \\boxed{\\frac{1}{2}}."),
        ("42", "\\boxed{42}"),
    ],
)
def test_worked_solutions_end_in_a_box_if_asked_to(recipe, tmp_path: Path, answer: str, trained: str):
    path = tmp_path / "solutions.jsonl"
    path.write_text("".join(json.dumps({"question": f"{number}?", "answer": answer}) + "\n" for number in range(40)))
    for boxed, expected in ((True, trained), (False, answer)):
        rows, _, held_out = load(recipe, dataset_name=str(path), boxed_answers=boxed)
        assert {said for _, said in pairs([*rows, *held_out["held_out"]])} == {expected}


def test_a_solution_without_an_answer_has_no_box(recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "solutions.jsonl"
    path.write_text("".join(json.dumps({"question": f"{number}?", "Lösung": "I do not know."}) + "\n" for number in range(40)))
    with pytest.raises(SystemExit) as ended:
        load(recipe, dataset_name=str(path), boxed_answers=True, columns=["answer=Lösung"])
    assert ended.value.code == 2
    assert "solutions.jsonl, line 1: no final answer in column `Lösung`;" in capsys.readouterr().err


def test_rows_that_are_too_long_for_their_loss_are_not_counted(recipe):
    base = ROOT / "recipes" / "grpo_math" / "lesson" / "tiny_base"
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path=str(base)))
    answer = {"role": "assistant", "content": "1"}
    short, long = ({"messages": [{"role": "user", "content": "1 + " * count}, answer]} for count in (4, 400))
    settings = SimpleNamespace(skip_bad_rows=True), SimpleNamespace(max_length=128)
    kept = recipe["evaluate"].check_held_out({"held_out": [short, long, short]}, tokenizer, *settings)
    assert kept == {"held_out": [short, short]}
