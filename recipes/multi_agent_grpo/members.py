"""Where the agents' weights are, and asking them: one model for all, or an adapter for each on a shared base."""

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.data.runs import COMPLETE
from common.errors import fail
from common.generate.adapters import BASE
from common.generate.completions import Completion, generate
from common.models.devices import prepare
from common.models.liger import use_liger_modules
from common.models.load import load_model
from common.run.grpo import sampling

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import GRPOConfig, ModelConfig

from agents import Agent
from data import conversation

# Asks agents questions, all at once: pairs of an agent and what it reads, whether answers are sampled, how many times
# `max_completion_length` an answer may take, and whatever else `common.generate.completions.generate` knows; returns the
# completions in the same order, on every process.
Ask = Callable[..., list[Completion]]


def leave() -> None:
    """Ends the connection of the processes, as an accelerator's `end_training` would."""
    PartialState().destroy_process_group()


@dataclass(frozen=True)
class Setup:
    """What the parts of a run share.

    Attributes:
        training_args: As parsed; every trainer gets a copy of its own.
        model_args: Name the base model and the kind of adapter.
        tokenizer: The model's tokenizer.
    """

    training_args: GRPOConfig
    model_args: ModelConfig
    tokenizer: PreTrainedTokenizerBase

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.training_args.output_dir)


def asker(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    training_args: GRPOConfig,
    adapters: dict[str, str] | None = None,
) -> Ask:
    """Returns a function that asks agents questions.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the questions out over the processes.
        tokenizer: The model's tokenizer.
        training_args: Give the longest completion, the batch size of a device, and how answers are sampled.
        adapters: The adapter of each agent by its name, if they have several; an agent that is not in it is the base model.
    """

    def ask(turns: list[tuple[Agent, str]], sampled: bool = False, times: int = 1, **more: Any) -> list[Completion]:
        return generate(
            model,
            accelerator,
            tokenizer,
            [conversation(question, agent.prompt) for agent, question in turns],
            batch_size=training_args.per_device_eval_batch_size,
            max_new_tokens=times * training_args.max_completion_length,
            **(sampling(training_args) if sampled else {}),
            gather_parameters=training_args.ds3_gather_for_generation,
            adapters=[adapters.get(agent.name, BASE) for agent, _ in turns] if adapters else None,
            **more,
        )

    return ask


def fresh(training_args: GRPOConfig, **changes: Any) -> GRPOConfig:
    """Returns a copy of the training arguments for the next use of DeepSpeed, which writes into the settings that it gets.

    Args:
        training_args: As parsed, not used by any trainer.
        changes: Settings that differ; they are also those of the run's record.
    """
    args = copy.copy(training_args)
    args.deepspeed_plugin = copy.deepcopy(training_args.deepspeed_plugin)
    args.run_values = training_args.run_values | changes
    for name, value in changes.items():
        setattr(args, name, value)
    return args


def forget_accelerator() -> None:
    """Lets the next trainer or evaluation of this process have an accelerator of its own; the processes stay connected."""
    gc.collect()
    AcceleratorState._reset_state()  # accelerate (1.15) has no public way that leaves the processes connected


def team_weights(run: Path, team: list[Agent]) -> dict[str, Path]:
    """Returns the folder of each agent's adapter by its name, or one under the name `team` where they share their weights.

    Args:
        run: A run's folder.
        team: The agents.

    Raises:
        SystemExit: With code 2 if there are none.
    """
    names = ["team"] if (run / "team").is_dir() else [agent.name for agent in team]
    for name in names:
        if not (run / name / COMPLETE).exists():
            fail(f"{run} has no trained weights of {name}; pass the output_dir of a run of this recipe that is complete")
    return {name: run / name for name in names}


def _load(setup: Setup, model_args: ModelConfig) -> PreTrainedModel:
    gc.collect()  # the trainer before this, whose parts name each other, would hold its model beside this one
    return load_model(model_args, setup.tokenizer)


def load_base(setup: Setup) -> PreTrainedModel:
    """Loads the base model; each time the same one, also if it is a `tiny:` one, which begins with random weights."""
    set_seed(setup.training_args.seed)
    return _load(setup, setup.model_args)


def load_members(setup: Setup, weights: dict[str, Path]) -> PreTrainedModel | PeftModel:
    """Loads agents.

    Args:
        setup: Names the base model.
        weights: The folder of each agent's adapter by its name, or of all weights by any one name; empty for the base model.
    """
    folders = list(weights.values())
    if folders and not (folders[0] / "adapter_config.json").exists():
        return _load(setup, replace(setup.model_args, model_name_or_path=str(folders[0])))
    model = load_base(setup)
    for name, folder in weights.items():
        if isinstance(model, PeftModel):
            model.load_adapter(folder, adapter_name=name)
        else:
            model = PeftModel.from_pretrained(model, folder, adapter_name=name)
    return model


@contextmanager
def opened(setup: Setup, weights: dict[str, Path]) -> Iterator[Ask]:
    """Opens saved agents to ask them questions: under ZeRO-3 sharded over the processes, else a copy on each.

    Args:
        setup: Names the base model.
        weights: See `load_members`.
    """
    args = fresh(setup.training_args)
    members = load_members(setup, weights)
    use_liger_modules(members, args)
    model, accelerator = prepare(members, args)
    adapters = {name: name for name in weights} if len(weights) > 1 else None
    asking = [asker(model, accelerator, setup.tokenizer, args, adapters)]
    del members, model
    # Whoever keeps what is yielded, as a `with` does whose name outlives it, must not keep the model with it.
    yield lambda *turns, **more: asking[0](*turns, **more)
    asking.clear()
    forget_accelerator()
