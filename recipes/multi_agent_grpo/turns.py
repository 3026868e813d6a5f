"""An adapter for each agent: one is trained at a time, beside the others, who answer with what they have learned so far."""

from collections.abc import Callable
from functools import lru_cache

from common.measure.math_answers import boxed_answer

from peft import PeftModel, get_peft_model
from trl import get_peft_config

from agents import Agent
from data import Problem
from members import Ask, Setup, load_base
from rewards import Answers, Sample

OWN = "default"  # the adapter that is trained; the others carry the names of their agents


def load_for_turn(setup: Setup, adapters: dict[str, str]) -> PeftModel:
    """Loads the base with a new adapter to train and the frozen ones of those who had their turn.

    Args:
        setup: Names the base model, the kind of adapter and the run's folder.
        adapters: The adapter of each agent; those of the others are in the run's folder under their names.
    """
    plugin = setup.training_args.deepspeed_plugin
    # Under ZeRO-3 all weights must have one dtype; TRL does the same where it makes the adapter (huggingface/trl#6089).
    settings = {"autocast_adapter_dtype": plugin is None or plugin.zero_stage != 3}
    base = load_base(setup)
    model = get_peft_model(base, get_peft_config(setup.model_args), adapter_name=OWN, **settings)
    for name in adapters.values():
        if name != OWN:
            model.load_adapter(setup.folder / name, adapter_name=name, **settings)
    model.set_adapter(OWN)
    save = model.save_pretrained
    model.save_pretrained = lambda *args, **kwargs: save(*args, **kwargs | {"selected_adapters": [OWN]})
    return model


def ask_mates(
    ask: Ask, problems: list[Problem], mates: list[Agent]
) -> Callable[[tuple[Sample, ...], int], dict[Sample, Answers]]:
    """Returns the function that asks the others, for `rewards.team_rewards`.

    Args:
        ask: Asks agents, with the weights as they are by then.
        problems: The training problems, by their number.
        mates: The other agents.
    """

    @lru_cache(maxsize=1)  # two rewards ask for the same
    def sample(teams: tuple[Sample, ...], step: int) -> dict[Sample, Answers]:
        done = iter(ask([(mate, problems[number].question) for number, _ in teams for mate in mates], sampled=True))
        return {team: {mate.name: boxed_answer(next(done).text) for mate in mates} for team in teams}

    return sample
