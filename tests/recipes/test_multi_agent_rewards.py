"""The rewards of multi_agent_grpo: what an agent adds to the vote, and that it does not depend on the number of processes."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, command_env, recipe_modules

TEAM = ["step_by_step", "algebra", "concise", "backwards"]

# As TRL calls it: each process has the rows of its part of the generation. Prints the rewards of all, in order.
CALL = """
import json, sys
sys.path.insert(0, "recipes/multi_agent_grpo")
from accelerate import PartialState
from accelerate.utils import gather_object
from rewards import team_rewards
rows = json.load(open(sys.argv[1]))
state = PartialState(cpu=True)
part = len(rows) // state.num_processes
rows = rows[state.process_index * part : (state.process_index + 1) * part]
columns = {name: [row[name] for row in rows] for name in ("answer", "problem", "agent")}
completions = [[{"role": "assistant", "content": row["text"]}] for row in rows]
found = {function.__name__: function(completions, trainer_state=None, **columns) for function in team_rewards()}
found = {name: gather_object(values) for name, values in found.items()}
if state.is_main_process:
    print(json.dumps(found))
state.destroy_process_group()
"""


@pytest.fixture(scope="module")
def rewards():
    with recipe_modules("multi_agent_grpo", ["rewards"]) as modules:
        yield modules["rewards"]


@pytest.mark.parametrize(
    ("answers", "value", "contributions"),
    [
        # All right: nobody is needed.
        (["4", "4", "4", "4"], 1.0, [0, 0, 0, 0]),
        # One is right where the others are wrong in different ways: it is paid for the fourth that it wins.
        (["4", "1", "2", "3"], 1 / 4, [1 / 4, 1 / 4 - 1 / 3, 1 / 4 - 1 / 3, 1 / 4 - 1 / 3]),
        # The two that are right decide; each would leave a tie of three, and a wrong one gone changes nothing.
        (["4", "4", "1", "2"], 1.0, [2 / 3, 2 / 3, 0, 0]),
        # A tie of two: each of the wrong ones costs half.
        (["4", "4", "1", "1"], 1 / 2, [1 / 2, 1 / 2, -1 / 2, -1 / 2]),
        # Nobody votes against the only one that answers.
        (["4", None, None, None], 1.0, [1, 0, 0, 0]),
        # No answer is no vote: it is worth more than a wrong one.
        (["4", "1", None, None], 1 / 2, [1 / 2, -1 / 2, 0, 0]),
        ([None, None, None, None], 0.0, [0, 0, 0, 0]),
        # Equal as numbers, not as text.
        (["4.0", "4", "1", "1"], 1 / 2, [1 / 2, 1 / 2, -1 / 2, -1 / 2]),
    ],
)
def test_marginal_contributions(rewards, answers: list[str | None], value: float, contributions: list[float]):
    team = dict(zip(TEAM, answers, strict=True))
    assert rewards.vote_value(team, "4") == pytest.approx(value)
    assert [rewards.contribution_of(name, team, "4") for name in TEAM] == pytest.approx(contributions)


def test_a_sure_agent_outvotes_two_unsure_ones(rewards):
    answers = {"step_by_step": "4", "algebra": "1", "concise": "1"}
    weights = {"step_by_step": 0.9, "algebra": 0.4, "concise": 0.3}
    assert rewards.winners(answers) == ["1"]
    assert rewards.winners(answers, weights) == ["4"]
    assert rewards.vote_value(answers, "4", weights) == 1.0


def test_disagreement_and_difference(rewards):
    assert rewards.disagreement(dict.fromkeys(TEAM, "4")) == 0
    assert rewards.disagreement(dict(zip(TEAM, "1234", strict=True))) == 1
    team = dict(zip(TEAM, ["4", "4", "1", None], strict=True))
    assert rewards.disagreement(team) == pytest.approx(5 / 6)
    assert [rewards.difference(name, team) for name in TEAM] == pytest.approx([2 / 3, 2 / 3, 1, 0])


def direct(rows: list[dict], samples: int) -> dict[str, list[float]]:
    """The rewards by the definition: the rows of a problem cut into groups, and the groups read across."""

    def chance(votes: list[str]) -> float:
        most = max(map(votes.count, votes), default=0)
        won = {vote for vote in votes if votes.count(vote) == most}
        return ("4" in won) / max(1, len(won))

    found = {"contribution": [], "diversity": []}
    size = len(TEAM) * samples
    for number, row in enumerate(rows):
        first, sample = number // size * size, number % samples
        own = number % size // samples
        votes = [rows[first + agent * samples + sample]["vote"] for agent in range(len(TEAM))]
        others = votes[:own] + votes[own + 1 :]
        all_votes, without = ([vote for vote in some if vote] for some in (votes, others))
        found["contribution"].append(chance(all_votes) - chance(without))
        found["diversity"].append(sum(vote != row["vote"] for vote in others) / 3 if row["vote"] else 0.0)
    return found


def test_one_and_two_processes_give_the_rewards_of_the_definition(tmp_path: Path):
    """Nine problems: with two processes the parts meet in the middle of a team."""
    rng, samples = random.Random(0), 2
    rows = []
    for problem in (7, 3, 5, 0, 8, 1, 2, 6, 4):
        for agent in TEAM:
            for _ in range(samples):
                vote = rng.choice(["4", "4", "1", "2", None])
                text = f"\\boxed{{{vote}}}" if vote else "I do not know"
                rows.append({"problem": problem, "agent": agent, "answer": "4", "text": text, "vote": vote})
    expected = direct(rows, samples)
    assert len({round(value, 3) for value in expected["contribution"]}) > 4
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "call.py").write_text(CALL)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    for num_processes in ("1", "2"):
        printed = subprocess.run(
            [*launch, num_processes, str(tmp_path / "call.py"), str(tmp_path / "rows.json")],
            cwd=ROOT,
            env=command_env(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        found = json.loads(printed.splitlines()[-1])
        for name, values in expected.items():
            assert found[name] == pytest.approx(values), f"{name}, {num_processes} processes"
