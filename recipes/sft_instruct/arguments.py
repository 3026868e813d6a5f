"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field


@dataclass
class InstructArguments:
    """The recipe's own settings; training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, or a local file with `question` and `answer`, or with `messages`."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub data set that has several."})
    num_train: int = field(default=0, metadata={"help": "Training conversations; 0 means all there are."})
    num_held_out: int = field(default=400, metadata={"help": "Rows of each held-out set and of the validation, at most."})
    system_prompt: str = field(default="", metadata={"help": "What the model is told before the question; may be empty."})
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that cannot be used, and say how many."})
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after so many evaluations without a lower validation loss; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where an answer is cut when the model is evaluated."})
