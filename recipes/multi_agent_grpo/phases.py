"""The trainings of a run, each in a folder of its own: the team, the aggregator, and one agent alone to compare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.data.runs import COMPLETE
from common.errors import say
from common.generate.logprobs import skip_padding
from common.generate.rollout import use_rollout_engine
from common.models.liger import use_liger_modules
from common.report.page import Curve
from common.run.loop import run
from common.run.teaching import WatchRewards, check_positions, counted_rewards

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, set_seed
from trl import GRPOConfig, GRPOTrainer, get_peft_config

from agents import Agent
from budget import StopAtTokens, sampled_tokens, steps_of
from combine import Outcome, Said, answers_of
from data import Problem, aggregator_dataset, to_dataset
from evaluate import measure_aggregator, measure_single
from in_training import aggregator_in_training, in_training
from kept import once
from members import Ask, Setup, asker, forget_accelerator, fresh, load_members, opened
from rewards import RewardFunction, correct, formatted, team_rewards
from turns import OWN, ask_mates, load_for_turn

SCRIPT = str(Path(__file__).with_name("train.py"))  # by which a run is known


def prepare_model(
    setup: Setup, training_args: GRPOConfig, adapters: dict[str, str] | None, dataset: Dataset
) -> PreTrainedModel | PeftModel:
    """Returns the model that a phase trains, which has positions for its longest prompt and an answer."""
    set_seed(training_args.seed)  # adapters, and a `tiny:` model, begin with random weights
    model = load_for_turn(setup, adapters) if adapters else load_members(setup, {})
    use_liger_modules(model, training_args)
    prompts = setup.tokenizer.apply_chat_template(list(dataset["prompt"]), return_dict=False, add_generation_prompt=True)
    check_positions(max(map(len, prompts)), model.config, training_args.max_completion_length)
    return model


def learn(
    setup: Setup,
    name: str,
    dataset: Dataset,
    rewards: Callable[[Ask], list[RewardFunction]],
    evaluate: Callable[[Ask], dict[str, dict[str, Any]]],
    *,
    adapters: dict[str, str] | None = None,
    stop: StopAtTokens | None = None,
    **changes: Any,
) -> None:
    """Trains the base model, or an adapter on it, in a folder of its own; what is complete there is not repeated."""
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
    model = prepare_model(setup, training_args, adapters, dataset)
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
        SCRIPT,
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


def learn_team(setup: Setup, team: list[Agent], train: list[Problem], held_out: list[Problem], in_turns: bool) -> list[str]:
    """Trains the team, and returns the folders of its parts.

    With shared weights all agents learn at once, and the j-th samples of all on a problem are a team. With an adapter each they
    learn in turns, beside the others as they are by then.
    """

    def evaluate(ask: Ask) -> dict[str, dict[str, Any]]:
        return in_training(ask, held_out, team)

    if not in_turns:
        rewards = [correct, formatted, *team_rewards()]
        learn(setup, "team", to_dataset(train, team), lambda ask: rewards, evaluate)
        return ["team"]
    for position, agent in enumerate(team):
        mates = [other for other in team if other is not agent]
        learn(
            setup,
            agent.name,
            to_dataset(train, [agent]),
            lambda ask, mates=mates: [correct, formatted, *team_rewards(ask_mates(ask, train, mates))],
            evaluate,
            adapters={agent.name: OWN} | {other.name: other.name for other in team[:position]},
        )
    return [agent.name for agent in team]


def learn_to_decide(
    setup: Setup, aggregator: Agent, steps: int, problems: list[Problem], heard: Said, held_out: list[Problem], said: Said
) -> dict[str, Outcome]:
    """Trains the aggregator, which reads what the trained team says and is rewarded for the right decision; measures it."""
    learn(
        setup,
        "aggregator",
        aggregator_dataset(problems, map(answers_of, heard), aggregator),
        lambda ask: [correct, formatted],
        lambda ask: aggregator_in_training(ask, held_out, said, aggregator),
        max_steps=steps,
    )
    with opened(setup, {"aggregator": setup.folder / "aggregator"}) as ask:
        return once(setup.folder / "aggregator.json", lambda: measure_aggregator(ask, held_out, said, aggregator))[0]


def learn_alone(
    setup: Setup, single: Agent, train: list[Problem], held_out: list[Problem], team_size: int, phases: list[str]
) -> dict[str, Outcome]:
    """Trains one agent alone until it has sampled as many tokens as the team; measures it.

    Its answers may be as long as those of the whole team together; or it answers as often as the team has agents, and its
    samples vote.
    """
    learn(
        setup,
        "single",
        to_dataset(train, [single]),
        lambda ask: [correct, formatted],
        lambda ask: in_training(ask, held_out, [single]),
        stop=StopAtTokens(sampled_tokens(setup.folder, phases, setup.training_args), setup.training_args),
        max_steps=4 * steps_of(setup.folder, phases),
        max_completion_length=team_size * setup.training_args.max_completion_length,
    )
    with opened(setup, {"single": setup.folder / "single"}) as ask:
        return once(setup.folder / "single.json", lambda: measure_single(ask, held_out, single, team_size))[0]
