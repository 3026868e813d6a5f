"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field

from common.data.arguments import DataArguments


@dataclass(kw_only=True)
class InstructArguments(DataArguments):
    """The recipe's own settings beside its data's; training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    system_prompt: str = field(default="", metadata={"help": "What the model is told before the question; may be empty."})
    boxed_answers: bool = field(
        default=False, metadata={"help": "Write the end of a worked solution, `#### 42`, as `\\boxed{42}`: as it is rewarded."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after so many evaluations without a lower validation loss; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where an answer is cut when the model is evaluated."})
