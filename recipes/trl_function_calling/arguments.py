"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field

from common.data.arguments import DataArguments


@dataclass(kw_only=True)
class CallingArguments(DataArguments):
    """The recipe's own settings beside its data's; training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, a local file or folder, or several; to evaluate also a folder of BFCL."}
    )
    chat_template_file: str | None = field(
        default=None, metadata={"help": "A chat template (Jinja) in the place of the model's own, if that one shows no tools."}
    )
    chat_dataset_name: str | None = field(
        default=None, metadata={"help": "Conversations without tools (`messages`), to see what is forgotten; none if empty."}
    )
    num_chat: int = field(default=200, metadata={"help": "Held-out conversations without tools."})
    chat_share: float = field(
        default=0.0, metadata={"help": "Share of conversations without tools in the training, against forgetting."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Evaluations without a lower validation loss until training stops; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where an answer is cut in evaluation."})
