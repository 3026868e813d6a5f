"""One answer from several agents: what is decoded together, and what is decided once all have answered."""

import math
import random
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from common.generate.completions import Completion
from common.measure.math_answers import boxed_answer, is_same

import torch
from transformers import LogitsProcessor

from rewards import Answers, vote_value, winners


@dataclass(frozen=True)
class Outcome:
    """What a way of answering achieved.

    Attributes:
        values: For each problem 1 if the answer is right, 0 if not, the chance of it where a draw decides.
        tokens: Tokens sampled for a problem, on average, by all agents together.
        cut: Share of the completions sampled for it that came to the limit before their end.
    """

    values: list[float]
    tokens: float
    cut: float


Said = list[dict[str, Completion]]  # for each problem the completion of each agent
Measured = tuple[dict[str, Outcome], Said]  # what each way of answering achieved, by its name, and what was said
MOST_CHOICES = 100  # of some of the agents, of which the mean is taken; of more, so many are drawn


class MeanLogits(LogitsProcessor):
    """Continues the prompts of a team with one text: at each step the mean of the agents' next-token logits decides.

    The output head is linear, so this equals averaging the agents' final hidden states, after the last normalisation, and
    applying the head once. It needs all agents at every token, where the other ways of combining need only their answers.
    """

    def __init__(self, team_size: int):
        self.team_size = team_size

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        mean = scores.view(-1, self.team_size, scores.shape[-1]).mean(dim=1)
        return mean.repeat_interleave(self.team_size, dim=0)


def answers_of(said: dict[str, Completion]) -> Answers:
    """Returns the answer in each agent's completion."""
    return {name: boxed_answer(completion.text) for name, completion in said.items()}


def confidences(said: dict[str, Completion]) -> dict[str, float]:
    """Returns what each agent's vote counts: the probability that the model gave to its tokens, their geometric mean.

    Taubenfeld et al. 2025 (arXiv:2502.06233) weight the votes of self-consistency so.
    """
    return {name: completion.confidence for name, completion in said.items()}


def outcome_of(values: list[float], said: Said) -> Outcome:
    """Returns what a way of answering achieved that takes all that was said.

    Args:
        values: See `Outcome`.
        said: For each problem the completions that were sampled for it.
    """
    sampled = [done for completions in said for done in completions.values()]
    return Outcome(values, sum(done.num_tokens for done in sampled) / len(said), fmean(done.cut for done in sampled))


def vote_of(said: Said, right: list[str], size: int) -> Outcome:
    """Scores the vote of some of the answers: the mean over all choices of so many, none of which is picked out.

    Args:
        said: For each problem the completions: one of each agent, or samples of one.
        right: The right answers.
        size: How many vote; 1 is one of them alone, drawn at random.
    """
    names, rng = list(said[0]), random.Random(0)
    few = math.comb(len(names), size) <= MOST_CHOICES
    choices = list(combinations(names, size)) if few else [rng.sample(names, size) for _ in range(MOST_CHOICES)]
    values = [
        fmean(vote_value({name: answers[name] for name in choice}, answer) for choice in choices)
        for answers, answer in zip(map(answers_of, said), right, strict=True)
    ]
    whole = outcome_of(values, said)
    return replace(whole, tokens=whole.tokens * size / len(names))


def combined(said: Said, right: list[str]) -> dict[str, Outcome]:
    """Scores each agent alone, then the votes of two agents, three, and so on; `vote` is that of all.

    Args:
        said: For each problem the completion of each agent.
        right: The right answers.
    """
    names = list(said[0])
    outcomes = {name: vote_of([{name: done[name]} for done in said], right, 1) for name in names}
    outcomes |= {f"vote_{size}": vote_of(said, right, size) for size in range(2, len(names))}
    sure = [vote_value(answers_of(done), answer, confidences(done)) for done, answer in zip(said, right, strict=True)]
    return outcomes | {"vote": vote_of(said, right, len(names)), "confidence_vote": outcome_of(sure, said)}


def describe_vote(answers: Answers) -> str:
    """Returns what the vote decides, in words."""
    won = winners(answers)
    if len(won) == 1:
        voices = sum(is_same(answer, won[0]) for answer in answers.values())
        return f"{won[0]} ({voices} of {len(answers)})"
    return f"a tie between {' and '.join(won)}" if won else "nobody answered"


def agreement(heard: list[Answers]) -> dict[str, dict[str, float]]:
    """Returns for each pair of agents the share of problems on which they give the same answer.

    Args:
        heard: For each problem the answer of each agent.
    """
    names = list(heard[0])
    return {
        one: {other: sum(is_same(answers[one], answers[other]) for answers in heard) / len(heard) for other in names}
        for one in names
    }
