"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field


@dataclass
class CallingArguments:
    """The recipe's own settings; the training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, a local file with `messages` and `tools`, or (to evaluate) a folder of BFCL."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub data set that has several."})
    chat_dataset_name: str | None = field(
        default=None, metadata={"help": "Conversations without tools (`messages`), to see what is forgotten; none if empty."}
    )
    num_train: int = field(default=0, metadata={"help": "Training conversations; 0 means all there are."})
    num_held_out: int = field(default=400, metadata={"help": "Rows of each held-out set and of the validation, at most."})
    num_chat: int = field(default=200, metadata={"help": "Held-out conversations without tools."})
    chat_share: float = field(
        default=0.0, metadata={"help": "Share of conversations without tools in the training, against forgetting."}
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that cannot be used; otherwise an error."})
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Evaluations without a lower validation loss until training stops; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where an answer is cut in evaluation."})
