"""What is measured while a part of the run trains, for its curves and for the problems that the report shows."""

from statistics import fmean
from typing import Any

from common.generate.completions import Completion
from common.measure.statistics import mean
from common.run.recorder import Evaluation

from agents import Agent
from combine import Said, answers_of, describe_vote
from data import Problem
from evaluate import measure_agents, measure_aggregator
from members import Ask
from rewards import disagreement, vote_value

SAMPLES_SHOWN = 24  # kept in samples.jsonl, for the report


def in_training(ask: Ask, problems: list[Problem], team: list[Agent]) -> Evaluation:
    """Measures the vote and each agent alone, for the curves; it draws no random numbers.

    Args:
        ask: Asks the agents.
        problems: The held-out problems.
        team: The agents; a single one is measured alone.

    Returns:
        For the set `held_out` its `metrics`, `samples` (what all agents said) and `count`.
    """
    outcomes, said = measure_agents(ask, problems, team)
    # What stands first is what the run prints.
    outcomes = {"vote": outcomes["vote"]} | outcomes if len(team) > 1 else {"accuracy": outcomes["vote"]}
    metrics = {name: mean(outcome.values) for name, outcome in outcomes.items()}
    if len(team) > 1:
        metrics["disagreement"] = {"value": fmean(disagreement(answers_of(completions)) for completions in said)}
    return {"held_out": {"metrics": metrics, "samples": samples(problems, said), "count": len(problems)}}


def aggregator_in_training(ask: Ask, problems: list[Problem], said: Said, aggregator: Agent) -> Evaluation:
    """Measures the aggregator's decisions, for its curve; as `in_training`."""
    outcomes, decisions = measure_aggregator(ask, problems, said, aggregator)
    metrics = {"accuracy": mean(outcomes["aggregator"].values)}
    shown = samples(problems, [one | decision for one, decision in zip(said, decisions, strict=True)])
    return {"held_out": {"metrics": metrics, "samples": shown, "count": len(problems)}}


def samples(problems: list[Problem], said: list[dict[str, Completion]]) -> list[dict[str, Any]]:
    """Returns the first problems with what every agent said and what the vote is, in the form of the report."""
    rows = []
    for problem, completions in list(zip(problems, said, strict=True))[:SAMPLES_SHOWN]:
        answers = answers_of(completions)
        lines = [f"{name}: {completion.text.strip()}" for name, completion in completions.items()]
        if len(completions) > 1:
            lines.append(f"vote: {describe_vote(answers)}")
        right = vote_value(answers, problem.answer) == 1
        rows.append(
            {"question": problem.question, "answer": problem.answer, "completion": "\n\n".join(lines), "correct": right}
        )
    return rows
