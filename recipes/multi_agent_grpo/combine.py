"""One answer from several agents: what is decoded together, and what is decided once all have answered."""

from dataclasses import dataclass

from common.generate.completions import Completion
from common.measure.math_answers import boxed_answer, is_same

import torch
from transformers import LogitsProcessor

from rewards import Answers, vote_value


@dataclass(frozen=True)
class Outcome:
    """What a way of answering achieved.

    Attributes:
        values: For each problem 1 if the answer is right, 0 if not, the chance of it where a draw decides.
        tokens: Tokens sampled for a problem, on average, by all agents together.
    """

    values: list[float]
    tokens: float


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


def combined(said: list[dict[str, Completion]], right: list[str]) -> dict[str, Outcome]:
    """Scores the votes, then each agent alone.

    Args:
        said: For each problem the completion of each agent.
        right: The right answers.
    """
    heard = [answers_of(completions) for completions in said]
    tokens = {name: sum(done[name].num_tokens for done in said) / len(said) for name in said[0]}
    weights = [confidences(completions) for completions in said]
    outcomes = {
        "vote": Outcome(list(map(vote_value, heard, right)), sum(tokens.values())),
        "confidence_vote": Outcome(list(map(vote_value, heard, right, weights)), sum(tokens.values())),
    }
    for name in said[0]:
        alone = [float(is_same(answers[name], answer)) for answers, answer in zip(heard, right, strict=True)]
        outcomes[name] = Outcome(alone, tokens[name])
    return outcomes


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
