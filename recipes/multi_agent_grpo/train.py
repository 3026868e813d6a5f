"""GRPO on a team: several agents answer each problem, each in its role, and are paid for what they add to the vote.

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/multi_agent_grpo/train.py

You will see: a table of what tokens buy, untrained and trained: each agent alone, the votes, decoding together, an aggregator,
and one agent that may use as many tokens as the team, in one answer or in several; the curve of each agent; who agrees with
whom; problems with all answers and the vote, in outputs/multi_agent_grpo/*/report.html.

Simplified: one pass over the problems, no KL term (beta: 0), and no agent but the aggregator hears the others.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.data.runs import COMPLETE
from common.errors import say
from common.run.config import parse
from common.run.grpo import check_reward_weights
from common.run.output_dir import check_output_dir
from common.run.record import write_record
from common.run.teaching import WatchRewards, check_num_prompts, check_positions, counted_rewards

from transformers import set_seed
from trl import GRPOConfig

from agents import check_team, load_team
from arguments import TeamArguments
from budget import StopAtTokens, prompts_a_step, sampled_tokens, steps_of
from combine import answers_of
from rewards import RewardFunction, correct, formatted, team_rewards

if TYPE_CHECKING:
    from datasets import Dataset

    from members import Ask, Setup


def learn(
    setup: "Setup",
    name: str,
    dataset: "Dataset",
    rewards: Callable[["Ask"], list[RewardFunction]],
    evaluate: Callable[["Ask"], dict[str, dict[str, Any]]],
    *,
    adapters: dict[str, str] | None = None,
    stop: StopAtTokens | None = None,
    **changes: Any,
) -> None:
    """Trains the base model, or an adapter on it, in a folder of its own; what is complete there is not repeated."""
    from common.generate.rollout import use_rollout_engine
    from common.generate.scoring import skip_padding
    from common.models.kernels import use_liger_modules
    from common.report.page import Curve
    from common.run.loop import run

    from trl import GRPOTrainer, get_peft_config

    from members import asker, forget_accelerator, fresh, load_members
    from turns import load_for_turn

    folder = setup.folder / name
    if (folder / COMPLETE).exists():
        return
    say(f"\n{name}")

    def ask(*turns: Any, **more: Any) -> list:
        return asker(trainer.model_wrapped, trainer.accelerator, setup.tokenizer, training_args, adapters)(*turns, **more)

    reward_funcs = rewards(ask)
    weights = (setup.training_args.reward_weights or [1.0] * 4)[: len(reward_funcs)]
    training_args = fresh(setup.training_args, output_dir=str(folder), reward_weights=weights, **changes)
    reward_funcs = counted_rewards(training_args, reward_funcs)

    set_seed(training_args.seed)  # adapters, and a `tiny:` model, begin with random weights
    model = load_for_turn(setup, adapters) if adapters else load_members(setup, {})
    use_liger_modules(model, training_args)
    prompts = setup.tokenizer.apply_chat_template(list(dataset["prompt"]), return_dict=False, add_generation_prompt=True)
    check_positions(max(map(len, prompts)), model.config, training_args.max_completion_length)
    # For each prompt sample `num_generations` completions, reward each, and make those that did better than the others of their
    # group more likely.
    trainer = GRPOTrainer(
        model=model,
        args=training_args,
        reward_funcs=reward_funcs,
        train_dataset=dataset,
        processing_class=setup.tokenizer,
        peft_config=None if adapters else get_peft_config(setup.model_args),
        callbacks=[WatchRewards(), *([stop] if stop else [])],
    )
    use_rollout_engine(trainer)  # on a GPU completions come several times faster
    skip_padding(trainer)  # there training computes real tokens alone, too, with `attn_implementation: varlen`
    run(
        __file__,
        trainer,
        evaluate=lambda model: evaluate(ask),
        title=f"GRPO on a team: {name}",
        summary="A part of the run whose report is in the folder above.",
        curves=[Curve("Reward in training", {"reward": "reward", "share right": "rewards/correct/mean"})],
        shown={"reward": "reward", "right": "rewards/correct/mean", "length": "completions/mean_length"},
        more_follows=True,
    )
    trainer.accelerator.free_memory()  # DeepSpeed's hooks would hold the weights and their optimizer beside the next ones
    forget_accelerator()


def main() -> None:
    args, training_args, model_args = parse(__file__, TeamArguments, GRPOConfig)
    check_reward_weights(training_args, [correct, formatted, *team_rewards()])
    team, aggregator = load_team(args.agents_file)
    check_team(team, args.single_agent, args.adapter_per_agent, training_args, model_args)
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.models.config import check_model, read_config
    from common.models.load import load_tokenizer, with_variables

    from data import aggregator_dataset, check_prompts, load_data, to_dataset
    from evaluate import (
        aggregator_in_training,
        ask_team,
        choose_single,
        in_training,
        measure_aggregator,
        measure_single,
        measure_team,
    )
    from kept import once
    from members import Setup, leave, opened, team_weights
    from results import finish
    from turns import OWN, ask_mates

    # 1. Data: problems, and for each the number that the rewards look for. Every agent reads every problem.
    check_model(model_args)
    train, validation, sets = load_data(args, training_args.seed)
    check_parts(args.dataset_name, sets, train, validation)
    held_out = sets["held_out"]
    tokenizer = load_tokenizer(model_args)
    with_variables(tokenizer, training_args.chat_template_kwargs)
    longest = check_prompts([*train, *validation, *held_out], team, tokenizer, args)
    answers = len(team) if args.single_agent else 1  # that share the longest one
    check_positions(longest, read_config(model_args), answers * training_args.max_completion_length)
    alone = args.adapter_per_agent or args.single_agent  # the fewest rows that a phase has
    check_num_prompts(len(train) * (1 if alone else len(team)), training_args)
    setup = Setup(training_args, model_args, tokenizer)

    # 2. Before: the base model in all roles, and the one that is best alone with the budget of the whole team. Which one that
    #    is, here and after the training, the validation decides: by what is reported it would be picked for its luck.
    set_seed(training_args.seed)
    with opened(setup, {}) as ask:
        write_record(__file__, training_args)  # now that the model is there: a folder is taken by a run that can begin
        first = choose_single(ask, validation, team, args.single_agent, setup.folder / "untrained_validation.json")
        untrained = once(setup.folder / "untrained.json", lambda: measure_team(ask, held_out, team, aggregator, first))

    # 3. The team. With shared weights all agents learn at once, and the j-th samples of all on a problem are a team. With an
    #    adapter each they learn in turns, beside the others as they are by then.
    def evaluate_team(ask: "Ask") -> dict[str, dict[str, Any]]:
        return in_training(ask, held_out, team)

    if args.adapter_per_agent:
        for position, agent in enumerate(team):
            mates = [other for other in team if other is not agent]
            learn(
                setup,
                agent.name,
                to_dataset(train, [agent]),
                lambda ask, mates=mates: [
                    correct,
                    formatted,
                    *team_rewards(ask_mates(ask, train, mates)),
                ],
                evaluate_team,
                adapters={agent.name: OWN} | {other.name: other.name for other in team[:position]},
            )
    else:
        rewards = [correct, formatted, *team_rewards()]
        learn(setup, "team", to_dataset(train, team), lambda ask: rewards, evaluate_team)

    # 4. After: the same measures with the weights that were saved, and what the team says to the aggregator's problems.
    heard_problems = train[-args.aggregator_steps * prompts_a_step(training_args) :] if args.aggregator_steps else []
    with opened(setup, team_weights(setup.folder, team)) as ask:
        single = choose_single(ask, validation, team, args.single_agent, setup.folder / "validation.json")
        outcomes, said = once(setup.folder / "trained.json", lambda: measure_team(ask, held_out, team))
        _, heard = once(setup.folder / "heard.json", lambda: ({}, ask_team(ask, heard_problems, team, sampled=True)))

    # 5. The second phase: the aggregator reads what the trained team says, and is rewarded for the right decision.
    if args.aggregator_steps:
        learn(
            setup,
            "aggregator",
            aggregator_dataset(heard_problems, map(answers_of, heard), aggregator),
            lambda ask: [correct, formatted],
            lambda ask: aggregator_in_training(ask, held_out, said, aggregator),
            max_steps=args.aggregator_steps,
        )
        with opened(setup, {"aggregator": setup.folder / "aggregator"}) as ask:
            found = once(setup.folder / "aggregator.json", lambda: measure_aggregator(ask, held_out, said, aggregator))
        outcomes |= found[0]

    # 6. The baseline: the team's best agent, trained alone until it has sampled as many tokens as the team. Its answers may be
    #    as long as those of the whole team together; or it answers as often as the team has agents, and its samples vote.
    phases = [agent.name for agent in team] if args.adapter_per_agent else ["team"]
    budget = sum(sampled_tokens(setup.folder / name, training_args) for name in phases)
    if single is not None:
        learn(
            setup,
            "single",
            to_dataset(train, [single]),
            lambda ask: [correct, formatted],
            lambda ask: in_training(ask, held_out, [single]),
            stop=StopAtTokens(budget, training_args),
            max_steps=4 * steps_of(setup.folder, phases),
            max_completion_length=len(team) * training_args.max_completion_length,
        )
        with opened(setup, {"single": setup.folder / "single"}) as ask:
            found = once(setup.folder / "single.json", lambda: measure_single(ask, held_out, single, len(team)))
        outcomes |= found[0]

    # 7. The report of it all.
    singles = [agent for agent in (first, single) if agent is not None]
    finish(setup, team, singles, held_out, phases, untrained, (outcomes, said), budget)
    leave()


if __name__ == "__main__":
    main()
