"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field

from common.data.arguments import DataArguments


@dataclass(kw_only=True)
class MultilingualArguments(DataArguments):
    """The recipe's own settings beside its data's; training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={
            "help": "`synthetic`, a hub id, a local file or folder of rows with a thought, or several; to evaluate also a "
            "folder of MGSM."
        }
    )
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
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after so many evaluations without a lower validation loss; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where thought and answer are cut in evaluation."})
