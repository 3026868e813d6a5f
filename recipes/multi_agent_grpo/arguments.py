"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field

from common.data.arguments import DataArguments


@dataclass(kw_only=True)
class TeamArguments(DataArguments):
    """The recipe's own settings beside its data's; GRPO's are TRL's `GRPOConfig`, the model's TRL's `ModelConfig`."""

    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt in tokens; a longer one is an error."})
    agents_file: str = field(default="agents.yaml", metadata={"help": "The team; a file beside the recipe, or a path."})
    adapter_per_agent: bool = field(
        default=False, metadata={"help": "Give each agent a LoRA of its own on the shared base, and train them in turns."}
    )
    aggregator_steps: int = field(
        default=0, metadata={"help": "Steps of the second phase, which trains the aggregator; 0 leaves it out."}
    )
    single_agent: str = field(
        default="",
        metadata={
            "help": "Agent that is also trained alone on as many tokens, to compare: a name, `best` for the best by the "
            "validation, or empty for none."
        },
    )


@dataclass(kw_only=True)
class EvaluationArguments(TeamArguments):
    """What evaluate.py can be told beside them."""

    run_dir: str = field(default="", metadata={"help": "The output_dir of a run; empty for the untrained model."})
