"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field


@dataclass
class MultilingualArguments:
    """The recipe's own settings; training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={
            "help": "`synthetic`, a hub id, a local file with `messages` that end with a turn with `thinking`, or (to "
            "evaluate) a folder of MGSM."
        }
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub data set that has several."})
    num_train: int = field(default=0, metadata={"help": "Training conversations; 0 means all there are."})
    num_held_out: int = field(default=400, metadata={"help": "Rows of each held-out set and of the validation, at most."})
    thinking_languages: list[str] = field(
        default_factory=list,
        metadata={"help": "Languages to think in; rows in others are not trained and make a set of their own. Empty: all."},
    )
    other_share: float = field(
        default=0.0,
        metadata={"help": "Share of training rows in the other languages after all, so that they are not forgotten."},
    )
    current_date: str = field(
        default="2025-08-05", metadata={"help": "The date that the chat template tells the model, in evaluation and chat too."}
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that cannot be used, and say how many."})
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after so many evaluations without a lower validation loss; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where thought and answer are cut in evaluation."})
