"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field

from common.data.arguments import DataArguments

# Settings of the libraries that do nothing here, and why.
REFUSED = {
    **dict.fromkeys(["packing", "packing_strategy", "eval_packing"], "rows with pictures are not packed"),
    "pad_to_multiple_of": "the recipe puts batches together itself, as long as their longest row",
}


@dataclass(kw_only=True)
class OcrArguments(DataArguments):
    """The recipe's own settings; training's are TRL's `SFTConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, a file or folder of pictures in any usual layout, or several."}
    )
    image_folder: str | None = field(
        default=None, metadata={"help": "Where paths of pictures begin, if not at the file that holds them."}
    )
    question: str = field(default="Read the text in the image.", metadata={"help": "What the user says beside the picture."})
    units: str = field(
        default="lines", metadata={"help": "Of pages with boxes, and generated receipts: `lines`, whole `receipts`, or `both`."}
    )
    italics: bool = field(
        default=False,
        metadata={"help": "Print generated pictures in italics, which no other run sees: for an adapter to learn."},
    )
    plain: bool = field(default=False, metadata={"help": "Capitals, digits and . : / - alone in generated lines."})
    thermal: bool = field(
        default=False,
        metadata={
            "help": "Generated lines as tills print them: their words, in any case, worn print on thermal paper; the "
            "transcription is in capitals."
        },
    )
    shortest: int = field(default=3, metadata={"help": "Fewest characters of a generated line."})
    longest: int = field(default=32, metadata={"help": "Most characters of a generated line."})
    line_height: int = field(default=28, metadata={"help": "Height of a generated line in pixels."})
    strength: float = field(default=1.0, metadata={"help": "How bad generated photographs are: 0 is clean print."})
    code_share: float = field(
        default=0.25,
        metadata={"help": "Share of random codes among generated training lines: nothing in them can be guessed."},
    )
    curriculum: float = field(
        default=0.0,
        metadata={
            "help": "Over this first share of the training rows generated lines grow from the shortest to the longest, and "
            "from clean print to `strength`; the rows stay in this order."
        },
    )
    min_pixels: int = field(
        default=4 * 28 * 28, metadata={"help": "A smaller picture is enlarged; 28 x 28 pixels are a token."}
    )
    max_pixels: int = field(default=1024 * 28 * 28, metadata={"help": "A larger picture is made smaller: less memory."})
    freeze_vision_tower: bool = field(
        default=False, metadata={"help": "Train the language model alone; pictures are seen as they were before."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after so many evaluations without a lower validation loss; 0 trains to the end."}
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where a transcription is cut when the model is evaluated."})
