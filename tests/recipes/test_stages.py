"""One data set in several stages: what any of them measures, none has trained."""

import dataclasses
import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import recipe_modules
from forks import Server


def arguments_of(modules: dict[str, ModuleType]) -> type:
    """Returns the recipe's own dataclass of arguments, the narrowest."""
    found = [
        cls for cls in vars(modules["arguments"]).values() if dataclasses.is_dataclass(cls) and cls.__module__ == "arguments"
    ]
    return min(found, key=lambda cls: len(dataclasses.fields(cls)))


def question_of(row: object) -> str:
    return row["messages"][0]["content"] if isinstance(row, dict) else row.question


def write(path: Path, seed: int, question: str, answer: str) -> str:
    """Writes problems in an order and under headings of their own, some with other white space and case."""
    rng = random.Random(seed)
    rows = [{question: f"How much is {n} plus 1?", answer: f"One more.\n#### {n + 1}"} for n in range(300)]
    for row in rng.sample(rows, 100):
        row[question] = row[question].upper().replace(" ", "  ")
    rng.shuffle(rows)
    if path.suffix == ".csv":
        quoted = [",".join(f'"{value}"' for value in row.values()) + "\n" for row in rows]
        path.write_text(f"{question},{answer}\n" + "".join(quoted))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[set[str]]]:
    """What each recipe trains, chooses by and reports on, by its questions; each with its own seed, size and file."""
    folder, found = tmp_path_factory.mktemp("stages"), {}
    stages = (
        ("sft_instruct", write(folder / "sft.csv", 1, "prompt", "completion"), 7),
        ("grpo_math", write(folder / "grpo.jsonl", 2, "question", "answer"), 400),
        ("multi_agent_grpo", write(folder / "team.jsonl", 3, "Problem", "Solution"), 12),
    )
    for name, path, num_held_out in stages:
        with recipe_modules(name, ["arguments", "data"]) as modules:
            args = arguments_of(modules)(dataset_name=path, num_held_out=num_held_out)
            train, validation, held_out = modules["data"].load_data(args, seed=len(name))
            parts = [train, validation, held_out["held_out"]]
            found[name] = [{" ".join(question_of(row).lower().split()) for row in rows} for rows in parts]
    return found


def test_what_is_measured_was_never_trained(stages: dict[str, list[set[str]]]):
    trained = set().union(*(train for train, _, _ in stages.values()))
    for _, validation, held_out in stages.values():
        assert validation
        assert held_out
        assert not trained & (validation | held_out)


def test_every_stage_trains_the_same_rows_and_measures_a_part_of_the_same(stages: dict[str, list[set[str]]]):
    sft, grpo, team = stages.values()
    assert sft[0] == grpo[0] == team[0]
    assert sft[1] < team[1] < grpo[1]
    assert sft[2] < team[2] < grpo[2]
    assert len(grpo[0]) + len(grpo[1]) + len(grpo[2]) == 300


def numbers_in(texts: Iterable[str]) -> set[int]:
    """Returns which of the problems that `write` made are asked in texts."""
    return {int(number) for text in texts for number in re.findall(r"how\s+much\s+is\s+(\d+)", text.lower())}


@pytest.mark.slow
def test_three_trainings_after_each_other(server: Server, tmp_path: Path):
    """SFT, then GRPO, then the team, each from the weights of the one before, on one file: no step sees what any measures."""
    path = write(tmp_path / "my.jsonl", 4, "question", "answer")
    small = f"--dataset_name {path} --num_train 48 --num_held_out 40 --save_strategy no --eval_strategy no".split()
    small += "--load_best_model_at_end false --per_device_train_batch_size 32".split()
    sampled = "--max_steps 3 --num_generations 4 --max_completion_length 8 --scale_rewards none".split()
    stages = (
        ("sft_instruct", "--max_steps -1 --num_train_epochs 1 --early_stopping_patience 0 --max_new_tokens 8".split()),
        ("grpo_math", sampled),
        ("multi_agent_grpo", [*sampled, "--aggregator_steps", "0", "--single_agent", ""]),
    )
    before, trained, measured = [], {}, set()
    for name, flags in stages:
        noted, output = tmp_path / f"{name}.txt", tmp_path / name
        env = {"FIRST": str(Path(__file__).with_name("what_is_trained.py")), "TRAINED": str(noted)}
        command = [f"recipes/{name}/train.py", *small, *flags, *before, "--output_dir", str(output)]
        run = server.start(*command, launched=False, **env)
        assert run.wait(300) == [0], run.text()
        trained[name] = numbers_in(map(json.loads, noted.read_text().splitlines()))
        before = ["--model_name_or_path", str(output)]
        with recipe_modules(name, ["arguments", "data"]) as modules:
            args = arguments_of(modules)(dataset_name=path, num_train=48, num_held_out=40)
            _, validation, held_out = modules["data"].load_data(args, seed=42)
            measured |= numbers_in(map(question_of, [*validation, *held_out["held_out"]]))
    assert len(trained["sft_instruct"]) == 48
    assert trained["grpo_math"] < trained["sft_instruct"]
    assert trained["multi_agent_grpo"] < trained["sft_instruct"]
    assert len(measured) > 40
    assert not measured & set().union(*trained.values())


def test_problems_in_other_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """GSM8K's form, a boxed answer, the answer alone as a number, a fraction or a calculation; messages too."""
    said = [{"role": "user", "content": "6?"}, {"role": "assistant", "content": "So \\boxed{6}."}]
    rows = [
        {"problem": "1?", "solution": "Long.", "answer": "\\frac{1}{2}"},
        {"problem": "2?", "solution": "It is $\\boxed{\\frac{\\pi}{2}}$."},
        {"question": "3?", "answer": 3},
        {"question": "4?", "answer": "3/4"},
        {"Question": "5?", "Answer": "$2\\sqrt{3}$"},
        {"messages": said},
        {"instruction": "7", "input": "?", "output": "Steps.\n#### 7"},
    ]
    path = tmp_path / "data.jsonl"
    for name in ("grpo_math", "multi_agent_grpo"):
        with recipe_modules(name, ["arguments", "data"]) as modules:
            arguments = arguments_of(modules)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            train, validation, held_out = modules["data"].load_data(arguments(dataset_name=str(path)), seed=0)
            problems = sorted([*train, *validation, *held_out["held_out"]], key=lambda problem: problem.question)
            assert [problem.answer for problem in problems] == [
                *("\\frac{1}{2}", "\\frac{\\pi}{2}", "3", "3/4", "2\\sqrt{3}", "6", "7"),
            ]
            for row, line in (
                ({"messages": [{"role": "system", "content": "Be brief."}, *said]}, "a system message of its own: the reward"),
                ({"messages": said * 2}, "not one question and one answer: a reward is given for one turn"),
                ({"question": "?", "answer": "the cat"}, "no final answer in column `answer`"),
                ({"problem": "?", "solution": "the cat"}, "no final answer in column `solution`"),
                ({"messages": [said[0], {"role": "assistant", "content": "?"}]}, "no final answer in column `messages`"),
            ):
                path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, row]))
                with pytest.raises(SystemExit, match="2"):
                    modules["data"].load_data(arguments(dataset_name=str(path)), seed=0)
                assert f"line 8: {line}" in capsys.readouterr().err
