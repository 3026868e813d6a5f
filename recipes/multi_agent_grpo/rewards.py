"""What an answer is worth, to its agent and to the team. The same functions reward in training and score in evaluate.py.

An agent is paid for a right answer of its own, and for what it changes in the team's vote:

    reward(i) = correct(i) + w * contribution(i)
    contribution(i) = value(vote of all) - value(vote of all but i)

`value` is 1 for a right vote, 0 for a wrong one, and 1/k where the right answer is tied with k - 1 others: the chance of
drawing it. A contribution lies between -1 and 1. It is highest where an agent is right and the others are wrong or divided, 0
where the team decides the same without it, and negative where its wrong answer spoils a vote. This is the difference reward of
Wolpert and Tumer (2001, "Optimal payoff functions for members of collectives"): whatever raises an agent's contribution raises
the team's value by as much. Foerster et al. 2018 (arXiv:1705.08926) use the same idea for policy gradients.

With `num_generations` samples of each agent, the j-th samples of all agents on a problem are a team.
"""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from common.measure.math_answers import boxed_answer, boxes_of, is_same
from common.measure.problems import ANSWER, RightAnswer, read_right_answer
from common.measure.statistics import share

from accelerate import PartialState
from accelerate.utils import gather_object

if TYPE_CHECKING:
    from data import Problem

Completions = list[list[dict[str, str]]]  # TRL's form: a list of messages for each completion
Answers = dict[str, str | None]  # the answer of each agent by its name; None where it gave none
Sample = tuple[int, int]  # a team: the number of its problem, and the number of the sample
RewardFunction = Callable[..., list[float]]

# --- One answer -----------------------------------------------------------------------------------------------------------


def is_correct(text: str, answer: str) -> bool:
    r"""Returns whether the last `\boxed{}` of a completion equals the answer: strict, no box is wrong.

    Args:
        text: A completion.
        answer: A number, as text; see `common.measure.math_answers.is_same` for what equals it.
    """
    return is_same(boxed_answer(text), answer)


# What a row of `recipes score` holds beside `completion`.
REFERENCE = {"answer": ANSWER}


def read_reference(row: dict[str, Any]) -> RightAnswer:
    """Makes what `score` takes of a row of a file; see `common.measure.problems.read_right_answer`."""
    return read_right_answer(row)


def score(rows: "list[Problem] | list[RightAnswer]", completions: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions of one agent as they are rewarded in training.

    Args:
        rows: The problems.
        completions: What was answered, one text for each.

    Returns:
        `accuracy`, a share with its 95 % interval; and for each problem whether the answer is `correct`.
    """
    right = [is_correct(text, problem.answer) for problem, text in zip(rows, completions, strict=True)]
    return {"accuracy": share(right)}, [{"correct": is_right} for is_right in right]


# --- The vote -----------------------------------------------------------------------------------------------------------


def winners(answers: Answers, weights: dict[str, float] | None = None) -> list[str]:
    """Returns the answers with the most votes, several if they are tied, none if nobody answered.

    Args:
        answers: The answer of each agent.
        weights: What the vote of each agent counts; 1 if not given.
    """
    tally: list[list] = []  # the answer, its votes
    for name, answer in answers.items():
        if answer is None:
            continue
        entry = next((entry for entry in tally if is_same(entry[0], answer)), None)
        if entry is None:
            tally.append(entry := [answer, 0.0])
        entry[1] += 1.0 if weights is None else weights[name]
    most = max((votes for _, votes in tally), default=0.0)
    return [answer for answer, votes in tally if votes == most]


def vote_value(answers: Answers, right: str, weights: dict[str, float] | None = None) -> float:
    """Returns the chance that the vote is right, when a tie is decided by drawing.

    Args:
        answers: The answer of each agent.
        right: The right answer.
        weights: See `winners`.
    """
    won = winners(answers, weights)
    return any(is_same(answer, right) for answer in won) / len(won) if won else 0.0


def contribution_of(name: str, answers: Answers, right: str) -> float:
    """Returns what an agent changes in the value of the team's vote: with it minus without it.

    Args:
        name: The agent.
        answers: The answer of each agent.
        right: The right answer.
    """
    others = {other: answer for other, answer in answers.items() if other != name}
    return vote_value(answers, right) - vote_value(others, right)


def disagreement(answers: Answers) -> float:
    """Returns the share of pairs of agents whose answers differ, as in Kuncheva and Whitaker (2003), but of answers.

    Their measure of diversity counts pairs of which one is right and the other wrong; two different wrong answers are as
    useful to a vote, so they count here too. An agent that gave no answer differs from every other.
    """
    pairs = list(combinations(answers.values(), 2))
    return sum(not is_same(one, other) for one, other in pairs) / len(pairs)


def difference(name: str, answers: Answers) -> float:
    """Returns the share of the others whose answer differs from an agent's; 0 for an agent that gave none.

    Args:
        name: The agent.
        answers: The answer of each agent.
    """
    mine = answers[name]
    others = [answer for other, answer in answers.items() if other != name]
    return 0.0 if mine is None else sum(not is_same(mine, answer) for answer in others) / len(others)


# --- Reward functions in TRL's form -------------------------------------------------------------------------------------


def correct(completions: Completions, answer: list[str], **kwargs) -> list[float]:
    """1 for an exactly right boxed answer, else 0."""
    return [float(is_correct(completion[0]["content"], right)) for completion, right in zip(completions, answer, strict=True)]


def formatted(completions: Completions, **kwargs) -> list[float]:
    r"""1 for exactly one `\boxed{}`, closed and not empty, else 0: worth a little, so that the form is found early."""
    texts = [completion[0]["content"] for completion in completions]
    return [float(len(boxes_of(text)) == 1 and boxed_answer(text) is not None) for text in texts]


def whole_teams(problem: list[int], agent: list[str], answers: list[str | None]) -> tuple[dict[Sample, Answers], list[Sample]]:
    """Brings the samples of all processes together: the j-th of every agent on a problem are a team.

    Args:
        problem: For each completion of this process, the number of its problem.
        agent: For each of them, the agent that wrote it.
        answers: For each of them, the answer.

    Returns:
        The teams, the same on every process, and for each completion of this process which team it is in.
    """
    rows = list(zip(problem, agent, answers, strict=True))
    parts = gather_object([rows])
    teams: dict[Sample, Answers] = {}
    counted: Counter[tuple[int, str]] = Counter()
    keys = []
    for number, name, answer in (row for part in parts for row in part):
        keys.append((number, counted[number, name]))
        counted[number, name] += 1
        teams.setdefault(keys[-1], {})[name] = answer
    first = sum(len(part) for part in parts[: PartialState().process_index])
    return teams, keys[first : first + len(rows)]


def team_rewards(mates: Callable[[tuple[Sample, ...], int], dict[Sample, Answers]] | None = None) -> list[RewardFunction]:
    """Returns the two reward functions that look at the team, in TRL's form.

    Args:
        mates: Where agents are trained in turns, what the others answer: called with the teams that lack them, and the step.

    Returns:
        `contribution`, what the agent changes in the vote, and `diversity`, the share of the others that answer otherwise.
    """

    def complete(completions, problem, agent, trainer_state) -> tuple[dict[Sample, Answers], list[Sample]]:
        teams, keys = whole_teams(problem, agent, [boxed_answer(completion[0]["content"]) for completion in completions])
        if mates is not None:
            others = mates(tuple(teams), trainer_state.global_step)
            teams = {sample: others[sample] | answers for sample, answers in teams.items()}
        return teams, keys

    def contribution(completions, answer, problem, agent, trainer_state, log_metric=None, **kwargs) -> list[float]:
        teams, keys = complete(completions, problem, agent, trainer_state)
        if log_metric is not None:
            log_metric("disagreement", fmean(map(disagreement, teams.values())))
            log_metric("team_size", fmean(map(len, teams.values())))
        return [contribution_of(name, teams[key], right) for name, key, right in zip(agent, keys, answer, strict=True)]

    def diversity(completions, problem, agent, trainer_state, **kwargs) -> list[float]:
        teams, keys = complete(completions, problem, agent, trainer_state)
        return [difference(name, teams[key]) for name, key in zip(agent, keys, strict=True)]

    return [contribution, diversity]
