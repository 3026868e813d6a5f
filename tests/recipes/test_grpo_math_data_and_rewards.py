"""The data and the rewards of grpo_math, on their own."""

import re
from pathlib import Path

import pytest
from conftest import recipe_modules

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "train.jsonl"


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("grpo_math", ["data", "rewards", "lesson.synthetic"]) as modules:
        yield modules


@pytest.mark.skipif(not GSM8K.exists(), reason=f"needs GSM8K's train.jsonl at {GSM8K}")
def test_every_gsm8k_row_parses_and_its_reference_scores_one(recipe):
    data, rewards = recipe["data"], recipe["rewards"]
    train, validation, held_out = data.load_data(data.MathArguments(dataset_name=str(GSM8K), num_held_out=400), seed=0)
    problems = train + validation + held_out["held_out"]
    assert [len(problems), len(validation), len(held_out["held_out"])] == [7473, 400, 400]
    assert len({problem.where for problem in problems}) == 7473
    references = [f"{problem.solution}\n\\boxed{{{problem.answer}}}" for problem in problems]
    completions = [[{"role": "assistant", "content": reference}] for reference in references]
    answers = [problem.answer for problem in problems]
    assert rewards.correct(completions, answers) == [1.0] * 7473
    assert rewards.formatted(completions) == [1.0] * 7473
    assert all(rewards.is_correct_lenient(done[0]["content"], right) for done, right in zip(completions, answers, strict=True))
    # The same answers as numbers, not through the shortcut for equal text.
    assert all(rewards.is_correct(rf"So: \boxed{{{right}.0}}", right) for right in answers[:500] if "." not in right)
    assert not any(rewards.is_correct(rf"\boxed{{{int(float(right)) + 1}}}", right) for right in answers[:500])


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        (r"<think>6*7=42</think> \boxed{42}", True, True),
        (r"\boxed{41} no, \boxed{42}", True, True),
        (r"\boxed{42} no, \boxed{41}", False, False),
        (r"\boxed{\frac{84}{2}}", True, True),
        (r"6 * 7 = 84/2 dollars", False, True),
        (r"\boxed{42.0}", True, True),
        (r"so \boxed {42}", True, True),
        ("The answer is 42", False, True),
        (r"\boxed{42", False, True),
        (r"\boxed{}", False, False),
        (r"\boxed{four}", False, False),
        ("", False, False),
    ],
)
def test_strict_and_lenient_reading(recipe, text: str, strict: bool, lenient: bool):
    rewards = recipe["rewards"]
    assert rewards.is_correct(text, "42") is strict
    assert rewards.is_correct_lenient(text, "42") is lenient


def test_scores_are_made_of_texts(recipe):
    rows = [recipe["data"].Problem(question, "", "42") for question in "abcd"]
    texts = [r"6*7=42 \boxed{42}", r"\boxed{42}", r"\boxed{41}", "It is 42"]
    metrics, verdicts = recipe["rewards"].score(rows, texts)
    assert verdicts == [{"correct": True}, {"correct": True}, {"correct": False}, {"correct": False}]
    assert {name: metric["value"] for name, metric in metrics.items()} == {
        "accuracy": 0.5,
        "lenient_accuracy": 0.75,
        "thinking_share": 0.5,
    }


def test_format_and_thinking(recipe):
    rewards = recipe["rewards"]
    texts = [
        r"6*7=42 \boxed{42}",
        r"\boxed{42}",
        r"<think>\n\n</think> \boxed{42}".replace(r"\n", "\n"),
        r"\boxed{1} \boxed{2}",
        "42",
        r"\boxed{}",
    ]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    assert rewards.formatted(completions) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert [rewards.has_reasoning(text) for text in texts] == [True, False, False, True, True, False]
    assert rewards.distinct_characters([[{"role": "assistant", "content": "abcabc"}]]) == [3.0]


def numbers(question: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", question))


def test_held_out_problems_are_never_trained_on(recipe):
    synthetic_splits = recipe["synthetic"].synthetic_splits
    train, validation, held_out = synthetic_splits(num_train=4000, num_held_out=400, seed=0)
    questions = {problem.question for problem in train}
    assert len(questions) == 4000
    chosen_by = {problem.question for problem in validation}
    assert len(chosen_by) == 400
    assert not chosen_by & questions
    assert {name: len(problems) for name, problems in held_out.items()} == {"held_out": 400, "unseen_numbers": 400}
    for problems in held_out.values():
        assert len({problem.question for problem in problems}) == 400
        assert not (questions | chosen_by) & {problem.question for problem in problems}
    # The second set is harder: not even the combination of its numbers occurs in training, whatever the seed.
    combinations = {numbers(problem.question) for problem in train}
    assert {numbers(problem.question) for problem in held_out["held_out"]} & combinations
    assert not {numbers(problem.question) for problem in held_out["unseen_numbers"]} & combinations
    again, _, same_held_out = synthetic_splits(num_train=4000, num_held_out=400, seed=1)
    assert same_held_out == held_out
    assert again != train
    assert not {numbers(problem.question) for problem in held_out["unseen_numbers"]} & {numbers(p.question) for p in again}


def test_generated_solutions_are_right(recipe):
    operations = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    for problem in recipe["synthetic"].generate_problems(1000, seed=3):
        used = []
        for step in problem.solution.split("\n"):
            left, operation, right, result = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", step).groups()
            assert operations[operation](int(left), int(right)) == int(result)
            used.append(right if used else (left, right))
        assert result == problem.answer
        assert int(result) > 0
        assert (*used[0], *used[1:]) == numbers(problem.question)
