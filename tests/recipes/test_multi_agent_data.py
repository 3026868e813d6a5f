"""The team, the problems and the batches of multi_agent_grpo, on their own."""

from argparse import Namespace

from common.data.questions import digest_of

import pytest
import yaml
from conftest import ROOT, recipe_modules
from tokenizers import Tokenizer

RECIPE = ROOT / "recipes" / "multi_agent_grpo"


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules(
        "multi_agent_grpo", ["agents", "data", "lesson.synthetic", "lesson.strategies", "lesson.make_tiny_base"]
    ) as modules:
        yield modules


def test_the_team_of_the_recipe(recipe):
    team, aggregator = recipe["agents"].load_team("agents.yaml")
    assert [agent.name for agent in team] == ["step_by_step", "algebra", "concise", "backwards"]
    assert aggregator.name == "aggregator"
    assert all("\\boxed{}" in agent.prompt for agent in [*team, aggregator])


def sizes(per_device: int, processes: int, steps: int, **more) -> Namespace:
    """The settings that `check_team` looks at, as TRL resolves them."""
    return Namespace(
        per_device_train_batch_size=per_device,
        world_size=processes,
        steps_per_generation=steps,
        generation_batch_size=per_device * processes * steps,
        num_generations=8,
        shuffle_dataset=False,
        reward_weights=None,
        **more,
    )


@pytest.mark.parametrize(
    ("per_device", "processes", "steps", "nearest"),
    [
        (24, 1, 1, [32]),
        (40, 1, 1, [32, 64]),
        (24, 2, 1, [16, 32]),
        (6, 1, 8, [4, 8]),
        (5, 3, 4, [8]),
        (9, 3, 4, [8, 16]),
    ],
)
def test_a_batch_that_does_not_hold_whole_teams(
    recipe, capsys, per_device: int, processes: int, steps: int, nearest: list[int]
):
    agents = recipe["agents"]
    team, _ = agents.load_team("agents.yaml")
    with pytest.raises(SystemExit) as ended:
        agents.check_team(team, "", False, sizes(per_device, processes, steps), Namespace(use_peft=False))
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert f"{per_device * processes * steps} completions a generation" in printed
    assert "do not hold whole teams of 4 agents x num_generations 8 = 32" in printed
    assert printed.endswith(f"nearest per_device_train_batch_size: {' or '.join(map(str, nearest))}\n")
    for size in nearest:
        agents.check_team(team, "", False, sizes(size, processes, steps), Namespace(use_peft=False))
    # In turns only one agent's groups are generated at once.
    if per_device * processes * steps % 8 == 0:
        agents.check_team(team, "", True, sizes(per_device, processes, steps), Namespace(use_peft=True))


@pytest.mark.parametrize(
    ("single", "adapters", "peft", "shuffle", "line"),
    [
        ("algebr", False, False, False, "single_agent algebr: there is no such agent; did you mean `algebra`?"),
        ("", True, False, False, "adapter_per_agent without use_peft"),
        ("", False, False, True, "shuffle_dataset would tear teams apart"),
    ],
)
def test_settings_that_do_not_fit_the_team(recipe, capsys, single: str, adapters: bool, peft: bool, shuffle: bool, line: str):
    agents = recipe["agents"]
    team, _ = agents.load_team("agents.yaml")
    settings = sizes(32, 1, 1)
    settings.shuffle_dataset = shuffle
    with pytest.raises(SystemExit):
        agents.check_team(team, single, adapters, settings, Namespace(use_peft=peft))
    assert line in capsys.readouterr().err


def test_held_out_problems_are_never_trained_on(recipe):
    data = recipe["data"]
    args = data.TeamArguments(dataset_name="synthetic", num_train=2000, num_held_out=300)
    train, validation, sets = data.load_data(args, seed=0)
    held_out = sets["held_out"]
    assert (len(train), len(validation), len(held_out)) == (2000, 200, 300)
    assert len({problem.question for problem in [*train, *validation, *held_out]}) == 2500
    again, _, same = data.load_data(args, seed=1)
    assert same == sets
    assert again != train
    kinds = [problem.kind for problem in held_out]
    assert set(kinds) == {"short", "unknown", "detour", "long"}
    assert min(kinds.count(kind) for kind in set(kinds)) > 50


def test_what_is_measured_is_not_in_the_training_of_the_tiny_base(recipe):
    base = recipe["make_tiny_base"].BaseArguments(output_dir="")
    shown = recipe["make_tiny_base"].base_problems(base)
    assert len(shown) > 100_000
    seen = {digest_of(problem.question) for problem in shown}
    train, validation, sets = recipe["synthetic"].synthetic_splits(4000, 2000, seed=0)
    measured = {digest_of(problem.question) for problem in [*validation, *sets["held_out"]]}
    assert len(measured) == 2400
    assert not measured & seen
    assert not measured & {digest_of(problem.question) for problem in train}


@pytest.mark.parametrize(
    "name", ["vote", "Vote", "vote_2", "confidence_vote", "self_consistency_3", "single", "single_agent", "aggregator", "best"]
)
def test_no_agent_is_called_as_a_result(recipe, capsys, tmp_path, name: str):
    path = tmp_path / "agents.yaml"
    path.write_text(f"agents: [{{name: a, prompt: Think.}}, {{name: {name}, prompt: Ask.}}]\naggregator: {{prompt: Decide.}}\n")
    with pytest.raises(SystemExit) as ended:
        recipe["agents"].load_team(str(path))
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"agent 2: the name {name} is kept for other uses; choose another\n")


def test_the_rows_of_a_problem_are_its_team(recipe):
    agents, data = recipe["agents"], recipe["data"]
    team, aggregator = agents.load_team("agents.yaml")
    problems = recipe["synthetic"].generate_problems(5, seed=0)
    rows = data.to_dataset(problems, team)
    assert rows["problem"] == [number for number in range(5) for _ in team]
    assert rows["agent"] == [agent.name for agent in team] * 5
    assert rows["prompt"][5][0] == {"role": "system", "content": team[1].prompt}
    assert rows["prompt"][5][1] == {"role": "user", "content": problems[1].question}
    heard = {"step_by_step": "4", "algebra": None}
    (row,) = data.aggregator_dataset(problems[:1], [heard], aggregator)
    assert row["prompt"][1]["content"] == f"{problems[0].question}\n\nstep_by_step: 4\nalgebra: no answer"
    assert row["answer"] == problems[0].answer


def test_no_way_of_working_is_cut_and_the_ways_differ_in_what_they_solve(recipe):
    """What the comparison rests on, as the tiny base is shown it: without hurry, each way ends well within its limit."""
    tokenizer = Tokenizer.from_file(str(RECIPE / "lesson" / "tiny_base" / "tokenizer.json"))
    limit = yaml.safe_load((RECIPE / "tiny.yaml").read_text())["max_completion_length"]
    solved, lengths = {}, []
    for problem in recipe["synthetic"].generate_problems(1000, seed=3):
        for name, strategy in recipe["strategies"].STRATEGIES.items():
            lines, answer = strategy(problem, hurried=False)
            text = recipe["make_tiny_base"].completion(lines, answer) + "<|im_end|>"
            lengths.append(len(tokenizer.encode(text, add_special_tokens=False).ids))
            solved.setdefault((name, problem.kind), []).append(answer == problem.answer)
            # In a hurry the last step is missing, and the answer is wrong unless the numbers happen to agree.
            hurried_lines, _ = strategy(problem, hurried=True)
            assert len(hurried_lines) <= len(lines)
    assert max(lengths) <= limit / 1.25
    share = {key: sum(values) / len(values) for key, values in solved.items()}
    assert all(share["backwards", kind] == 1 for kind in recipe["synthetic"].KINDS)
    assert share["step_by_step", "unknown"] < 0.2


def test_the_stories_add_up(recipe):
    for problem in recipe["synthetic"].generate_problems(400, seed=4):
        if problem.kind == "unknown":
            boxes, over, total = problem.numbers
            assert boxes * int(problem.answer) + over == total
            continue
        total = problem.numbers[0]
        for operation, number in zip(problem.operations, problem.numbers[1:], strict=True):
            total = {"+": total + number, "-": total - number, "*": total * number}[operation]
            assert total > 0
        assert total == int(problem.answer)
        assert all(str(number) in problem.question for number in problem.numbers)
