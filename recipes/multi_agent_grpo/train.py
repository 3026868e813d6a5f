"""GRPO on a team: several agents answer each problem, each in its role, and are paid for what they add to the vote.

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/multi_agent_grpo/train.py

You will see: a table of what tokens buy, untrained and trained: each agent alone, the votes, decoding together, an aggregator,
and one agent that may use as many tokens as the team, in one answer or in several; the curve of each agent; who agrees with
whom; problems with all answers and the vote, in outputs/multi_agent_grpo/*/report.html.

Simplified: one pass over the problems, no KL term (beta: 0), and no agent but the aggregator hears the others.
"""

from typing import TYPE_CHECKING

from common.run.config import parse
from common.run.grpo import check_reward_weights
from common.run.output_dir import check_output_dir
from common.run.record import write_record
from common.run.teaching import check_num_prompts, check_positions

from transformers import PreTrainedTokenizerBase, set_seed
from trl import GRPOConfig, ModelConfig

from agents import Agent, check_team, load_team
from arguments import TeamArguments
from budget import prompts_a_step
from rewards import correct, formatted, team_rewards

if TYPE_CHECKING:
    from data import Problem


def prepare_data(
    args: TeamArguments, training_args: GRPOConfig, model_args: ModelConfig, team: list[Agent]
) -> tuple[PreTrainedTokenizerBase, list["Problem"], list["Problem"], list["Problem"]]:
    """Returns the tokenizer, and the problems to train on, to choose by and to report on."""
    from common.data.splits import check_parts
    from common.models.config import check_model, read_config
    from common.models.load import load_tokenizer, with_variables

    from data import load_data, measure_prompts

    check_model(model_args)
    train, validation, sets = load_data(args, training_args.seed)
    check_parts(args.dataset_name, sets, train, validation)
    held_out = sets["held_out"]
    tokenizer = load_tokenizer(model_args)
    with_variables(tokenizer, training_args.chat_template_kwargs)
    longest = measure_prompts([*train, *validation, *held_out], team, tokenizer, args)
    answers = len(team) if args.single_agent else 1  # that share the longest one
    check_positions(longest, read_config(model_args), answers * training_args.max_completion_length)
    alone = args.adapter_per_agent or args.single_agent  # the fewest rows that a phase has
    check_num_prompts(len(train) * (1 if alone else len(team)), training_args)
    return tokenizer, train, validation, held_out


def main() -> None:
    args, training_args, model_args = parse(__file__, TeamArguments, GRPOConfig)
    check_reward_weights(training_args, [correct, formatted, *team_rewards()])
    team, aggregator = load_team(args.agents_file)
    check_team(team, args.single_agent, args.adapter_per_agent, training_args, model_args)
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from evaluate import ask_team, choose_single, measure_team
    from kept import once
    from members import Setup, leave, opened, team_weights
    from phases import learn_alone, learn_team, learn_to_decide
    from results import finish

    # 1. Data: problems, and for each the number that the rewards look for. Every agent reads every problem.
    tokenizer, train, validation, held_out = prepare_data(args, training_args, model_args, team)
    setup = Setup(training_args, model_args, tokenizer)

    # 2. Before: the base model in all roles, and the one that is best alone with the budget of the whole team. Which one that
    #    is, here and after the training, the validation decides: by what is reported it would be picked for its luck.
    set_seed(training_args.seed)
    with opened(setup, {}) as ask:
        write_record(__file__, training_args)  # now that the model is there: a folder is taken by a run that can begin
        first = choose_single(ask, validation, team, args.single_agent, setup.folder / "untrained_validation.json")
        untrained = once(setup.folder / "untrained.json", lambda: measure_team(ask, held_out, team, aggregator, first))

    # 3. The team: with shared weights all agents at once; with an adapter each in turns, beside the others as they are by then.
    phases = learn_team(setup, team, train, held_out, in_turns=args.adapter_per_agent)

    # 4. After: the same measures with the weights that were saved, and what the team says to the aggregator's problems.
    heard_problems = train[-args.aggregator_steps * prompts_a_step(training_args) :] if args.aggregator_steps else []
    with opened(setup, team_weights(setup.folder, team)) as ask:
        single = choose_single(ask, validation, team, args.single_agent, setup.folder / "validation.json")
        outcomes, said = once(setup.folder / "trained.json", lambda: measure_team(ask, held_out, team))
        _, heard = once(setup.folder / "heard.json", lambda: ({}, ask_team(ask, heard_problems, team, sampled=True)))

    # 5. The second phase: the aggregator reads what the trained team says, and is rewarded for the right decision.
    if args.aggregator_steps:
        outcomes |= learn_to_decide(setup, aggregator, args.aggregator_steps, heard_problems, heard, held_out, said)

    # 6. The baseline: the team's best agent, trained alone until it has sampled as many tokens as the team.
    if single is not None:
        outcomes |= learn_alone(setup, single, train, held_out, len(team), phases)

    # 7. The report of it all.
    singles = [agent for agent in (first, single) if agent is not None]
    finish(setup, team, singles, held_out, phases, untrained, (outcomes, said))
    leave()


if __name__ == "__main__":
    main()
