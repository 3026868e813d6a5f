"""What tokens buy: how many problems the team solves, each agent alone and one with the team's budget, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/multi_agent_grpo/evaluate.py \
        --run_dir outputs/multi_agent_grpo/tiny

Without `--run_dir` the untrained model plays all roles, and no agent is compared with the team. The problems are shared out
over the processes; under ZeRO-3 the model is sharded, under the other stages each process holds a copy. An answer is scored by
the function that rewards it in training.
"""

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from common.errors import say
from common.measure.math_answers import boxed_answer, is_same
from common.measure.statistics import mean
from common.report.numbers import format_interval, format_value
from common.run.config import parse

from trl import GRPOConfig

from agents import BEST, Agent, load_team
from arguments import EvaluationArguments
from combine import MeanLogits, Measured, Outcome, Said, answers_of, combined, outcome_of, vote_of
from kept import once, read

if TYPE_CHECKING:
    from data import Problem
    from members import Ask


def ask_team(ask: "Ask", problems: list["Problem"], team: list[Agent], **how: Any) -> Said:
    """Asks every agent every problem once.

    Args:
        ask: Asks agents questions (see `members.opened`).
        problems: The problems.
        team: The agents.
        how: Whether they answer as in training, not with the likeliest answer, and how long; see `members.Ask`.

    Returns:
        For each problem the completion of each agent by its name.
    """
    # Agent by agent: answers of one way of working are of like length, and a batch takes as long as its longest.
    done = iter(ask([(agent, problem.question) for agent in team for problem in problems], **how))
    of_agents = {agent.name: [next(done) for _ in problems] for agent in team}
    return [{name: completions[number] for name, completions in of_agents.items()} for number in range(len(problems))]


def measure_agents(ask: "Ask", problems: list["Problem"], team: list[Agent], **how: Any) -> Measured:
    """Asks as `ask_team` and scores each agent alone, and the votes.

    Returns:
        What each way of answering achieved, by its name, and for each problem the completion of each agent.
    """
    said = ask_team(ask, problems, team, **how)
    return combined(said, [problem.answer for problem in problems]), said


def choose_single(ask: "Ask", validation: list["Problem"], team: list[Agent], name: str, kept_in: Path) -> Agent | None:
    """Returns the agent that the team is compared with: the named one, or the best by problems that are not reported on.

    Args:
        ask: Asks the agents.
        validation: The problems to choose by.
        team: The agents.
        name: An agent's name, `best` for the one that solves most of the validation alone, or empty for none.
        kept_in: The file that keeps what was measured to choose.
    """
    if name != BEST:
        return next((agent for agent in team if agent.name == name), None)
    outcomes, _ = once(kept_in, lambda: measure_agents(ask, validation, team))
    return max(team, key=lambda agent: fmean(outcomes[agent.name].values))


def decode_together(ask: "Ask", problems: list["Problem"], team: list[Agent]) -> Outcome:
    """Solves the problems with the mean of the agents' logits at each token."""
    turns = [(agent, problem.question) for problem in problems for agent in team]
    done = ask(turns, together=len(team), logits_processor=MeanLogits(len(team)))[:: len(team)]
    values = [float(is_same(boxed_answer(one.text), problem.answer)) for one, problem in zip(done, problems, strict=True)]
    alone = outcome_of(values, [{"": one} for one in done])
    return replace(alone, tokens=len(team) * alone.tokens)


def self_consistency(ask: "Ask", problems: list["Problem"], agent: Agent, num_samples: int) -> dict[str, Outcome]:
    """Lets one agent answer several times and takes the vote of its samples (Wang et al. 2022, arXiv:2203.11171).

    They are sampled as in training, and each may be as long as an answer of the team's agents.

    Args:
        ask: Asks the agent.
        problems: The problems.
        agent: The agent.
        num_samples: Its answers to each problem.

    Returns:
        The outcomes of the votes of one sample, two, and so on; `self_consistency` is that of all.
    """
    done = iter(ask([(agent, problem.question) for problem in problems for _ in range(num_samples)], sampled=True))
    said = [{str(number): next(done) for number in range(num_samples)} for _ in problems]
    right = [problem.answer for problem in problems]
    outcomes = {f"self_consistency_{size}": vote_of(said, right, size) for size in range(1, num_samples)}
    return outcomes | {"self_consistency": vote_of(said, right, num_samples)}


def measure_team(
    ask: "Ask", problems: list["Problem"], team: list[Agent], aggregator: Agent | None = None, single: Agent | None = None
) -> Measured:
    """Measures all that a team can do with its answers, greedily but for self-consistency.

    Args:
        ask: Asks the agents.
        problems: The held-out problems.
        team: The agents.
        aggregator: Where it plays with the same weights: it decides too.
        single: Where the same weights are its own: the agent that gets the whole team's budget, see `measure_single`.

    Returns:
        What each way of answering achieved, by its name, and for each problem the completion of each agent.
    """
    outcomes, said = measure_agents(ask, problems, team)
    outcomes["mean_logits"] = decode_together(ask, problems, team)
    if aggregator is not None:
        outcomes |= measure_aggregator(ask, problems, said, aggregator)[0]
    if single is not None:
        outcomes |= measure_single(ask, problems, single, len(team))[0]
    return outcomes, said


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
    sampled = [one | {"aggregator": done} for one, done in zip(said, decisions, strict=True)]
    return {"aggregator": outcome_of(right, sampled)}, [{"aggregator": done} for done in decisions]


def measure_single(ask: "Ask", problems: list["Problem"], single: Agent, team_size: int) -> Measured:
    """Measures an agent that may use as many tokens as a team: in one answer, greedily, and in the vote of several.

    Args:
        ask: Asks the agent.
        problems: The held-out problems.
        single: The agent.
        team_size: Its one answer may be so many times as long as an agent's, and so many are its samples.

    Returns:
        As `measure_team`.
    """
    outcomes, said = measure_agents(ask, problems, [single], times=team_size)
    return {"single_agent": outcomes[single.name]} | self_consistency(ask, problems, single, team_size), said


def main() -> None:
    args, training_args, model_args = parse(__file__, EvaluationArguments, GRPOConfig, run_flag="run_dir")
    team, aggregator = load_team(args.agents_file)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.models.load import load_tokenizer, with_variables

    from data import load_data, measure_prompts
    from members import Setup, leave, opened, team_weights

    _, _, sets = load_data(args, training_args.seed)
    check_parts(args.dataset_name, sets)
    problems = sets["held_out"]
    tokenizer = load_tokenizer(model_args)
    with_variables(tokenizer, training_args.chat_template_kwargs)
    measure_prompts(problems, team, tokenizer, args)
    setup = Setup(training_args, model_args, tokenizer)
    run = Path(args.run_dir)
    weights = team_weights(run, team) if args.run_dir else {}
    with opened(setup, weights) as ask:
        outcomes, said = measure_team(ask, problems, team, None if args.run_dir else aggregator)
    if args.run_dir and (run / "aggregator").is_dir():
        with opened(setup, {"aggregator": run / "aggregator"}) as ask:
            outcomes |= measure_aggregator(ask, problems, said, aggregator)[0]
    answered_alone = read(run / "single.json")[1][0] if args.run_dir and (run / "single.json").exists() else {}
    for single in (agent for agent in team if agent.name in answered_alone):
        with opened(setup, {"single": run / "single"}) as ask:
            outcomes |= measure_single(ask, problems, single, len(team))[0]
    say(f"{args.run_dir or model_args.model_name_or_path}: {len(problems)} problems")
    for name, outcome in outcomes.items():
        metric = mean(outcome.values)
        bounds = f"95 % interval {format_interval(metric)}"
        used = f"{outcome.tokens:.0f} tokens a problem, {outcome.cut:.1%} of answers cut"
        say(f"  {name:<20}{format_value(metric):>7}   {bounds}   {used}")
    leave()


if __name__ == "__main__":
    main()
