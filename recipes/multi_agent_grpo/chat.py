"""Asks a trained team: every agent answers in its role, then the vote is counted and the aggregator decides.

    recipes chat outputs/multi_agent_grpo/tiny

Every line of input is a problem of its own. `RUN` is the folder of the whole run, which holds those of its agents.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from common.data.runs import read_record
from common.errors import fail
from common.generate.chat import answer
from common.measure.math_answers import boxed_answer
from common.models.saved import load_run

from peft import PeftModel

from agents import Agent, load_team
from data import aggregator_question, conversation
from evaluate import describe_vote
from members import team_weights


def load_agents(run: Path, team: list[Agent], max_new_tokens: int) -> tuple[Any, Any]:
    """Loads the team of a run: one model for all, or one with an adapter for each agent, under its name.

    Args:
        run: The run's folder.
        team: The agents.
        max_new_tokens: Where an answer is cut.

    Returns:
        The model and its tokenizer.
    """
    weights = team_weights(run, team)
    model, tokenizer, _ = load_run(next(iter(weights.values())))
    if len(weights) > 1:
        for name, folder in weights.items():
            model.load_adapter(folder, adapter_name=name)
    model.generation_config.update(do_sample=False, max_new_tokens=max_new_tokens)
    return model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(prog="recipes chat", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a whole run")
    args = parser.parse_args()
    _, record = read_record(args.run)
    settings = record["settings"]
    team, aggregator = load_team(settings["agents_file"])
    model, tokenizer = load_agents(args.run, team, settings["max_completion_length"])
    judge = None
    if (args.run / "aggregator").is_dir():
        judge, _, _ = load_run(args.run / "aggregator")
        judge.generation_config.update(do_sample=False, max_new_tokens=settings["max_completion_length"])
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print(f"The team: {', '.join(agent.name for agent in team)}. Ctrl-D ends.")
    try:
        while True:
            question = input("> " if at_terminal else "").strip()
            if not question:
                continue
            answers = {}
            for agent in team:
                print(f"--- {agent.name}")
                if isinstance(model, PeftModel) and agent.name in model.peft_config:
                    model.set_adapter(agent.name)
                answers[agent.name] = boxed_answer(answer(model, tokenizer, conversation(question, agent.prompt)))
            print(f"--- vote: {describe_vote(answers)}")
            if judge is not None:
                print("--- aggregator")
                answer(judge, tokenizer, conversation(aggregator_question(question, answers), aggregator.prompt))
    except (EOFError, KeyboardInterrupt):
        if at_terminal:
            print()


if __name__ == "__main__":
    main()
