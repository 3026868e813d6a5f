"""Asks a trained team: every agent answers in its role, then the vote is counted and the aggregator decides.

    recipes chat outputs/multi_agent_grpo/tiny

Every line of input is a problem of its own. `RUN` is the folder of the whole run, which holds those of its agents.
"""

from typing import Any

from common.data.runs import read_record
from common.generate.chat import answer, chat_parser, load_for_chat, talk


def main() -> None:
    args = chat_parser(__doc__).parse_args()
    _, record = read_record(args.run)

    from common.measure.math_answers import boxed_answer

    from agents import load_team
    from combine import describe_vote
    from data import aggregator_question, conversation
    from members import team_weights

    # One model for all, or one with an adapter for each agent under its name; the aggregator has learned from another start.
    team, aggregator = load_team(record["settings"]["agents_file"])
    weights = team_weights(args.run, team)
    model, tokenizer, _ = load_for_chat(next(iter(weights.values())), args)
    adapters = weights if len(weights) > 1 else {}
    for name, folder in adapters.items():
        model.load_adapter(folder, adapter_name=name)
    judge = load_for_chat(args.run / "aggregator", args)[0] if (args.run / "aggregator").is_dir() else None

    def reply(messages: list[dict[str, Any]]) -> None:
        question = messages[-1]["content"]
        answers = {}
        for agent in team:
            print(f"--- {agent.name}")
            if agent.name in adapters:
                model.set_adapter(agent.name)
            answers[agent.name] = boxed_answer(answer(model, tokenizer, conversation(question, agent.prompt)))
        print(f"--- vote: {describe_vote(answers)}")
        if judge is not None:
            print("--- aggregator")
            answer(judge, tokenizer, conversation(aggregator_question(question, answers), aggregator.prompt))

    talk(reply, hint=f"The team: {', '.join(agent.name for agent in team)}.")


if __name__ == "__main__":
    main()
