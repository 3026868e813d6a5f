"""How many problems the team solves, and each agent alone: all ways of combining, with 95 % intervals and tokens.

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/multi_agent_grpo/evaluate.py \
        --run_dir outputs/multi_agent_grpo/tiny

Without `--run_dir` the untrained model plays all roles. The problems are shared out over the processes; under ZeRO-3 the model
is sharded, under the other stages each process holds a copy. An answer is scored by the function that rewards it in training.
"""

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from common.errors import say
from common.generate.completions import Completion
from common.measure.math_answers import boxed_answer, is_same
from common.measure.statistics import mean, share
from common.report.numbers import format_interval, format_value
from common.run.config import parse

from trl import GRPOConfig

from agents import Agent, load_team
from arguments import EvaluationArguments
from combine import MeanLogits, Outcome, answers_of, combined
from rewards import Answers, disagreement, vote_value, winners

if TYPE_CHECKING:
    from common.run.loop import Evaluation

    from data import Problem
    from members import Ask

SAMPLES_SHOWN = 24  # kept in samples.jsonl, for the report
Said = list[dict[str, Completion]]  # for each problem the completion of each agent
Measured = tuple[dict[str, Outcome], Said]


def interval(values: list[float]) -> dict[str, float]:
    """Returns the mean with its 95 % interval: Wilson's where all are 0 or 1, else the normal one."""
    return share([value == 1.0 for value in values]) if set(values) <= {0.0, 1.0} else mean(values)


def ask_team(ask: "Ask", problems: list["Problem"], team: list[Agent], sampled: bool = False) -> Said:
    """Asks every agent every problem once.

    Args:
        ask: Asks agents questions (see `members.opened`).
        problems: The problems.
        team: The agents.
        sampled: Whether they answer as in training, not with the likeliest answer.

    Returns:
        For each problem the completion of each agent by its name.
    """
    done = iter(ask([(agent, problem.question) for problem in problems for agent in team], sampled=sampled))
    return [{agent.name: next(done) for agent in team} for _ in problems]


def decode_together(ask: "Ask", problems: list["Problem"], team: list[Agent]) -> Outcome:
    """Solves the problems with the mean of the agents' logits at each token."""
    turns = [(agent, problem.question) for problem in problems for agent in team]
    done = ask(turns, together=len(team), logits_processor=MeanLogits(len(team)))[:: len(team)]
    values = [float(is_same(boxed_answer(one.text), problem.answer)) for one, problem in zip(done, problems, strict=True)]
    return Outcome(values, len(team) * sum(one.num_tokens for one in done) / len(done))


def self_consistency(ask: "Ask", problems: list["Problem"], agent: Agent, num_samples: int) -> Outcome:
    """Lets one agent answer several times and takes the vote of its samples (Wang et al. 2022, arXiv:2203.11171).

    They are sampled as in training.

    Args:
        ask: Asks the agent.
        problems: The problems.
        agent: The agent.
        num_samples: Its answers to each problem.
    """
    done = iter(ask([(agent, problem.question) for problem in problems for _ in range(num_samples)], sampled=True))
    said = [{str(number): next(done) for number in range(num_samples)} for _ in problems]
    values = [vote_value(answers_of(one), problem.answer) for one, problem in zip(said, problems, strict=True)]
    return Outcome(values, sum(done.num_tokens for one in said for done in one.values()) / len(problems))


def measure_team(
    ask: "Ask", problems: list["Problem"], team: list[Agent], aggregator: Agent | None = None, single: Agent | None = None
) -> Measured:
    """Measures all that a team can do with its answers, greedily but for self-consistency.

    Args:
        ask: Asks the agents.
        problems: The held-out problems.
        team: The agents.
        aggregator: Where it plays with the same weights: it decides too.
        single: Where the same weights are its own: the agent whose self-consistency is measured, with a sample for each agent.

    Returns:
        What each way of answering achieved, by its name, and for each problem the completion of each agent.
    """
    said = ask_team(ask, problems, team)
    outcomes = combined(said, [problem.answer for problem in problems])
    together = {"mean_logits": decode_together(ask, problems, team)}
    if aggregator is not None:
        together |= measure_aggregator(ask, problems, said, aggregator)[0]
    if single is not None:
        together["single_agent"] = outcomes[single.name]
        together["self_consistency"] = self_consistency(ask, problems, single, len(team))
    votes = {name: outcomes.pop(name) for name in ("vote", "confidence_vote")}
    return votes | together | outcomes, said


def measure_aggregator(ask: "Ask", problems: list["Problem"], said: Said, aggregator: Agent) -> Measured:
    """Lets the aggregator read the agents' answers and decide.

    Args:
        ask: Asks the aggregator.
        problems: The problems.
        said: For each problem the completion of each agent.
        aggregator: Its role.

    Returns:
        As `measure_team`: what it achieved (its tokens include those of the agents), and what it said.
    """
    from data import aggregator_question

    heard = [answers_of(completions) for completions in said]
    questions = [aggregator_question(problem.question, answers) for problem, answers in zip(problems, heard, strict=True)]
    decisions = ask([(aggregator, question) for question in questions])
    right = [float(is_same(boxed_answer(done.text), problem.answer)) for done, problem in zip(decisions, problems, strict=True)]
    tokens = sum(done.num_tokens for completions in said for done in completions.values())
    outcome = Outcome(right, (tokens + sum(done.num_tokens for done in decisions)) / len(problems))
    return {"aggregator": outcome}, [{"aggregator": done} for done in decisions]


def measure_single(ask: "Ask", problems: list["Problem"], single: Agent, num_samples: int) -> Measured:
    """Measures an agent alone: greedily, and the vote of several samples.

    Args:
        ask: Asks the agent.
        problems: The held-out problems.
        single: The agent.
        num_samples: Its samples for each problem.

    Returns:
        As `measure_team`.
    """
    said = ask_team(ask, problems, [single])
    alone = combined(said, [problem.answer for problem in problems])[single.name]
    return {"single_agent": alone, "self_consistency": self_consistency(ask, problems, single, num_samples)}, said


def in_training(ask: "Ask", problems: list["Problem"], team: list[Agent]) -> "Evaluation":
    """Measures the vote and each agent alone, for the curves; it draws no random numbers.

    Args:
        ask: Asks the agents.
        problems: The held-out problems.
        team: The agents; a single one is measured alone.

    Returns:
        For the set `held_out` its `metrics`, `samples` (what all agents said) and `count`.
    """
    said = ask_team(ask, problems, team)
    outcomes = combined(said, [problem.answer for problem in problems])
    if len(team) == 1:
        outcomes = {"accuracy": outcomes[team[0].name]}
    metrics = {name: interval(outcome.values) for name, outcome in outcomes.items()}
    if len(team) > 1:
        metrics["disagreement"] = {"value": fmean(disagreement(answers_of(completions)) for completions in said)}
    return {"held_out": {"metrics": metrics, "samples": samples(problems, said), "count": len(problems)}}


def aggregator_in_training(ask: "Ask", problems: list["Problem"], said: Said, aggregator: Agent) -> "Evaluation":
    """Measures the aggregator's decisions, for its curve; as `in_training`."""
    outcomes, decisions = measure_aggregator(ask, problems, said, aggregator)
    metrics = {"accuracy": interval(outcomes["aggregator"].values)}
    shown = samples(problems, [one | decision for one, decision in zip(said, decisions, strict=True)])
    return {"held_out": {"metrics": metrics, "samples": shown, "count": len(problems)}}


def samples(problems: list["Problem"], said: list[dict[str, Completion]]) -> list[dict[str, Any]]:
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


def describe_vote(answers: Answers) -> str:
    """Returns what the vote decides, in words."""
    won = winners(answers)
    if len(won) == 1:
        voices = sum(is_same(answer, won[0]) for answer in answers.values())
        return f"{won[0]} ({voices} of {len(answers)})"
    return f"a tie between {' and '.join(won)}" if won else "nobody answered"


def main() -> None:
    args, training_args, model_args = parse(__file__, EvaluationArguments, GRPOConfig, run_flag="run_dir")
    team, aggregator = load_team(args.agents_file)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.models.load import load_tokenizer, with_variables

    from data import check_prompts, load_data
    from members import Setup, leave, opened, team_weights

    _, _, sets = load_data(args, training_args.seed)
    check_parts(args.dataset_name, sets)
    problems = sets["held_out"]
    tokenizer = load_tokenizer(model_args)
    with_variables(tokenizer, training_args.chat_template_kwargs)
    check_prompts(problems, team, tokenizer, args)
    setup = Setup(training_args, model_args, tokenizer)
    run = Path(args.run_dir)
    weights = team_weights(run, team) if args.run_dir else {}
    with opened(setup, weights) as ask:
        outcomes, said = measure_team(ask, problems, team, None if args.run_dir else aggregator)
    if args.run_dir and (run / "aggregator").is_dir():
        with opened(setup, {"aggregator": run / "aggregator"}) as ask:
            outcomes |= measure_aggregator(ask, problems, said, aggregator)[0]
    say(f"{args.run_dir or model_args.model_name_or_path}: {len(problems)} problems")
    for name, outcome in outcomes.items():
        metric = interval(outcome.values)
        bounds = f"95 % interval {format_interval(metric)}"
        say(f"  {name:<20}{format_value(metric):>7}   {bounds}   {outcome.tokens:.0f} tokens a problem")
    leave()


if __name__ == "__main__":
    main()
