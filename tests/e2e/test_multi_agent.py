"""multi_agent_grpo: a team is trained as a team, in one model or with an adapter each, and continues where it was stopped."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from conftest import CPU_PRECISION, ROOT, Python, accelerate, command_env, recipe_modules, run_command
from safetensors.torch import load_file
from test_resume import interrupt

TRAIN, EVALUATE = "recipes/multi_agent_grpo/train.py", "recipes/multi_agent_grpo/evaluate.py"
AGENTS = ["step_by_step", "algebra", "concise", "backwards"]

# The smallest run that goes through every part of the tiny recipe: two generations of one problem for each trainer.
SHORT = "--max_steps 2 --num_train 64 --num_held_out 8 --num_generations 2 --per_device_train_batch_size 8 --save_steps 1"
SHORT += " --aggregator_steps 2 --eval_steps 10 --per_device_eval_batch_size 64"
TOGETHER = ["vote_2", "vote_3", "vote", "confidence_vote", "mean_logits", "aggregator", "single_agent"]
TOGETHER += ["self_consistency_1", "self_consistency_2", "self_consistency_3", "self_consistency"]
ADAPTERS = "--adapter_per_agent true --use_peft true --lora_target_modules all-linear --learning_rate 1e-3 --warmup_steps 0"


def evaluations(folder: Path, split: str = "held_out") -> dict[int, dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["metrics"] for row in rows if row.get("split") == split}


def weights_of(folder: Path) -> dict:
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, python: Python) -> tuple[Path, str]:
    """A short run with shared weights, under ZeRO-3: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("team") / "run"
    flags = [*SHORT.split(), "--deepspeed", "accelerate_configs/ds_zero3.json", "--log_completions", "true"]
    finished = python(TRAIN, *flags, "--output_dir", str(folder))
    return folder, finished.stdout


def test_a_run_leaves_what_the_readme_promises(trained):
    folder, printed = trained
    for name in ("report.html", "curves.png", "metrics.jsonl", "samples.jsonl", "config.yaml", "README.md", "complete"):
        assert (folder / name).exists(), name
    for phase in ("team", "aggregator", "single"):
        weights = weights_of(folder / phase)
        assert all(weight.numel() > 0 and weight.isfinite().all() for weight in weights.values())
    first, last = evaluations(folder)[0], evaluations(folder)[2]
    assert set(first) == set(last) == {*TOGETHER, *AGENTS}
    assert next(iter(first)) == next(iter(last)) == "vote"  # what stands first heads the report, and `recipes runs` shows it
    assert all(0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1 for metric in last.values())
    report = (folder / "report.html").read_text()
    for text in ("What tokens buy", "Who solves what", "Who agrees with whom", "tokens a problem", "cut", "vote of 3 agents"):
        assert text in report
    # All answers and the vote of a problem.
    sample = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    assert re.search(r"step_by_step: .*algebra: .*concise: .*backwards: .*vote: ", sample["completion"], re.DOTALL)
    # The one agent is the best of the team on the validation, and of the same budget in training and in an answer.
    measured = {name: json.loads((folder / f"{name}.json").read_text())["outcomes"] for name in ("validation", "single")}
    best = max(AGENTS, key=lambda name: sum(measured["validation"][name]["values"]))
    assert f"vote minus {best}, all tokens in one answer, trained alone: " in printed
    settings = {name: json.loads((folder / name / "run.json").read_text())["settings"] for name in ("team", "single")}
    assert settings["single"]["max_completion_length"] == 4 * settings["team"]["max_completion_length"]
    assert set(measured["single"]["single_agent"]) == {"values", "tokens", "cut"}


def test_the_rewards_of_a_run_are_those_of_the_definition(trained):
    """What TRL logged beside each completion, against the definition applied to the whole generation."""
    folder, _ = trained
    with recipe_modules("multi_agent_grpo", ["agents", "rewards", "data"]) as modules:
        rewards, (team, _) = modules["rewards"], modules["agents"].load_team("agents.yaml")
        roles = {agent.prompt: agent.name for agent in team}
        for path in sorted((folder / "team" / "completions").glob("*.parquet")):
            check_logged_rewards(pd.read_parquet(path), rewards, roles, num_generations=2)


def check_logged_rewards(table: pd.DataFrame, rewards, roles: dict[str, str], num_generations: int) -> None:
    texts = [completion[0]["content"] for completion in table["completion"]]
    names = [roles[prompt[0]["content"]] for prompt in table["prompt"]]
    questions = [prompt[1]["content"] for prompt in table["prompt"]]
    size = num_generations * len(roles)
    assert len(table) % size == 0
    right = {}  # a question's right answer is that of a completion that was found right
    for question, text, correct in zip(questions, texts, table["correct"], strict=True):
        if correct:
            right[question] = rewards.boxed_answer(text)
    for start in range(0, len(table), size):
        rows = range(start, start + size)
        assert len({questions[row] for row in rows}) == 1
        for row in rows:
            mates = [other for other in rows if (other - row) % num_generations == 0]
            team = {names[other]: rewards.boxed_answer(texts[other]) for other in mates}
            assert set(team) == set(roles.values())
            expected = rewards.contribution_of(names[row], team, right.get(questions[row], "none is right"))
            assert table["contribution"][row] == pytest.approx(expected, abs=1e-6)


def test_the_same_command_again_points_at_the_report(trained, python: Python):
    folder, _ = trained
    flags = [*SHORT.split(), "--deepspeed", "accelerate_configs/ds_zero3.json", "--log_completions", "true"]
    again = python(TRAIN, *flags, "--output_dir", str(folder))
    assert f"This run is complete: see {folder}/report.html" in again.stdout


def test_a_run_stopped_between_or_in_its_parts_continues(trained, python: Python, tmp_path: Path):
    """As if it had been stopped when the team was trained, or in the middle of the aggregator."""
    whole, _ = trained
    flags = [*SHORT.split(), "--deepspeed", "accelerate_configs/ds_zero3.json", "--log_completions", "true"]
    parts = tmp_path / "run"
    shutil.copytree(whole, parts)
    for name in ("complete", "trained.json", "single.json", "aggregator.json", "aggregator/complete"):
        (parts / name).unlink()
    (parts / "aggregator" / "checkpoint-2" / "complete").unlink()
    shutil.rmtree(parts / "single")
    stopped = python(TRAIN, *flags, "--output_dir", str(parts), "--max_run_time", "0:00:01", code=143)
    assert f"Continuing from {parts}/aggregator/checkpoint-1" in stopped.stdout
    assert "\nteam\n" not in stopped.stdout
    assert (parts / "requeue").exists()
    python(TRAIN, *flags, "--output_dir", str(parts))
    assert not (parts / "requeue").exists()
    for phase in ("team", "aggregator", "single"):
        expected, found = weights_of(whole / phase), weights_of(parts / phase)
        assert all(expected[name].equal(found[name]) for name in expected), phase
    assert evaluations(parts) == evaluations(whole)


@pytest.mark.slow
@pytest.mark.campaign
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path):
    settings = [*SHORT.split(), *"--max_steps 6 --save_steps 2 --per_device_train_batch_size 4".split()]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = accelerate(TRAIN, *settings, num_processes=2)
    finished = run_command([*command, "--output_dir", str(whole)], timeout=600)
    assert finished.returncode == 0, finished.stderr
    interrupt([*command, "--output_dir", str(parts)], parts / "team", signal.SIGTERM)
    continued = run_command([*command, "--output_dir", str(parts)], timeout=600)
    assert continued.returncode == 0, continued.stderr
    assert f"Continuing from {parts}/team/checkpoint-" in continued.stdout
    for phase in ("team", "aggregator", "single"):
        expected, found = weights_of(whole / phase), weights_of(parts / phase)
        assert all(expected[name].equal(found[name]) for name in expected), phase
    assert evaluations(parts) == evaluations(whole)


def test_evaluate_and_chat(trained, python: Python):
    folder, _ = trained
    finished = python(EVALUATE, "--run_dir", str(folder), "--num_held_out", "8")
    expected = evaluations(folder)[2]
    printed = {row.split()[0]: float(row.split()[1].rstrip("%")) for row in re.findall(r"  \w+ +\S+%.*", finished.stdout)}
    assert set(printed) == set(expected)
    for name, value in printed.items():
        if name.startswith("self_consistency"):
            continue  # sampled
        # In other batches and without DeepSpeed a rounding can flip an answer of the eight.
        assert value == pytest.approx(100 * expected[name]["value"], abs=13)
    said = subprocess.run(
        ["recipes", "chat", str(folder)],
        input="Ada has 6 pens. Ada buys 5. Ada loses 3. How many are there?\n",
        cwd=ROOT,
        env=command_env(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.findall(r"^--- (\w+)", said, re.MULTILINE) == [*AGENTS, "vote", "aggregator"]
    assert said.count("\\boxed{") >= 3


@pytest.mark.slow
def test_adapters_are_trained_in_turns(python: Python, output_dir: Path):
    flags = [*SHORT.split(), *ADAPTERS.split(), "--deepspeed", "accelerate_configs/ds_zero2.json"]
    python(TRAIN, *flags, "--output_dir", str(output_dir))
    check_adapters(output_dir)


def check_adapters(folder: Path) -> None:
    """Each agent has one adapter, its own, and it has moved."""
    adapters = {name: weights_of(folder / name) for name in AGENTS}
    for name, weights in adapters.items():
        assert not [path for path in (folder / name).iterdir() if path.name in AGENTS]
        assert any(weight.abs().max() > 0 for key, weight in weights.items() if "lora_B" in key), name
    first, second = adapters["step_by_step"], adapters["algebra"]
    assert any(not first[key].equal(second[key]) for key in first)
    assert set(evaluations(folder)[0]) >= {"vote", "mean_logits", *AGENTS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "num_processes"),
    [("zero3", 2), *(pytest.param(*way, marks=pytest.mark.campaign) for way in (("zero2", 2), ("zero3", 1)))],
)
def test_adapters_under_the_launcher(output_dir: Path, config: str, num_processes: int):
    flags = [*SHORT.split(), *ADAPTERS.split(), "--output_dir", str(output_dir)]
    finished = run_command(accelerate(TRAIN, *flags, config=config, num_processes=num_processes), timeout=600)
    assert finished.returncode == 0, finished.stderr
    check_adapters(output_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "num_processes"),
    [("zero3", 2), *(pytest.param("zero2", number, marks=pytest.mark.campaign) for number in (1, 2))],
)
def test_shared_weights_under_the_launcher(output_dir: Path, config: str, num_processes: int):
    """Also: with two processes, of which each has half a team, the rewards are those of the definition."""
    size = 8 // num_processes
    flags = [*SHORT.split(), "--per_device_train_batch_size", str(size), "--log_completions", "true"]
    command = accelerate(TRAIN, *flags, "--output_dir", str(output_dir), config=config, num_processes=num_processes)
    finished = run_command(command, timeout=600)
    assert finished.returncode == 0, finished.stderr
    test_the_rewards_of_a_run_are_those_of_the_definition((output_dir, ""))
    assert set(evaluations(output_dir)[2]) >= {"vote", "aggregator", "self_consistency", *AGENTS}


def test_a_copied_recipe_runs_unchanged(tmp_path: Path, python: Python):
    """Also plain `python`: one process, without DeepSpeed."""
    mine = tmp_path / "recipes" / "mine"
    shutil.copytree(ROOT / "recipes" / "multi_agent_grpo", mine, ignore=shutil.ignore_patterns("__pycache__"))
    flags = [*SHORT.split(), "--aggregator_steps", "0", "--single_agent", "", "--max_steps", "1"]
    python(str(mine / "train.py"), *flags, "--output_dir", str(tmp_path / "run"))
    assert (tmp_path / "run" / "config.yaml").read_text().startswith(f"# mine: 1 x cpu, no sharding, {CPU_PRECISION}")
    assert {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()} == {"team"}


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            "--per_device_train_batch_size 24",
            "24 completions a generation (24 a device x 1 processes x 1 steps) do not hold "
            "whole teams of 4 agents x num_generations 8 = 32; nearest per_device_train_batch_size: 32",
        ),
        (
            "--single_agent slow",
            "single_agent slow: there is no such agent; there is: step_by_step, algebra, concise, backwards, best",
        ),
        (
            "--agents_file none.yaml",
            "cannot read agents_file none.yaml (No such file or directory); pass an existing file, such as agents.yaml",
        ),
        (
            "--reward_weights 1 1",
            "reward_weights has 2 numbers; give one for each of correct, formatted, contribution, diversity (0 leaves it out)",
        ),
        (
            "--max_prompt_length 20",
            "...: the prompt of ... has ... tokens and max_prompt_length is 20; raise it, or shorten the question",
        ),
    ],
)
def test_a_mistake_ends_in_one_line(python: Python, output_dir: Path, flags: str, line: str):
    finished = python(TRAIN, *flags.split(), "--output_dir", str(output_dir), code=2)
    pattern = ".*".join(re.escape(text) for text in f"error: {line}\n".split("..."))
    assert re.fullmatch(pattern, finished.stderr), finished.stderr
    assert not output_dir.exists()


@pytest.mark.slow
@pytest.mark.campaign
def test_the_team_learns_and_no_answer_is_cut(output_dir: Path):
    """Neither those of the team nor those of the one agent that it is compared with, which learns as much."""
    finished = run_command(accelerate(TRAIN, "--output_dir", str(output_dir)), timeout=900)
    assert finished.returncode == 0, finished.stderr
    measured = evaluations(output_dir)
    first, last = measured[0], measured[max(measured)]
    for name in ("vote", "single_agent"):
        assert last[name]["value"] >= first[name]["value"] + 0.25, name
    for part in ("untrained", "trained", "aggregator", "single"):
        for name, outcome in json.loads((output_dir / f"{part}.json").read_text())["outcomes"].items():
            assert name == "mean_logits" or outcome["cut"] < 0.02, f"{name}, {part}"


@pytest.mark.slow
@pytest.mark.parametrize("adapters", ["", ADAPTERS], ids=["shared", "adapters"])
def test_each_phase_begins_with_an_empty_memory(output_dir: Path, adapters: str):
    """Weights and optimizer of one that is over would stand beside its own. Under ZeRO-3 DeepSpeed keeps a process's parts."""
    flags = [*SHORT.split(), *adapters.split(), "--output_dir", str(output_dir)]
    command = accelerate("tests/e2e/models_at_once.py", *flags, config="zero2")
    finished = run_command(command, timeout=300)
    assert finished.returncode == 0, finished.stderr
    counts = re.findall("models in memory: (.+)", finished.stdout)
    assert len(counts) > 5
    assert set(counts) == {"0"}
