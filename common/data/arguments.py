"""What every recipe that reads text can be told about its data."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class DataArguments:
    """The data: where it is, what its columns are, what is held out of it, and what is left out."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, a local file or folder, or several: `a.jsonl:2 b.jsonl:1`."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub data set that has several."})
    validation_dataset_name: str | None = field(
        default=None, metadata={"help": "File, folder or hub id of what is chosen by; otherwise a split, or taken by hash."}
    )
    test_dataset_name: str | None = field(
        default=None, metadata={"help": "File, folder or hub id of what is reported on; otherwise a split, or taken by hash."}
    )
    columns: list[str] = field(
        default_factory=list,
        metadata={"help": "What columns hold whose names do not say it: `question=Frage answer=Antwort`."},
    )
    group_by: str | None = field(
        default=None, metadata={"help": "Column of what belongs together (a document, a customer): held out whole, or not."}
    )
    num_train: int = field(default=0, metadata={"help": "Training rows; 0 means all there are."})
    num_held_out: int = field(default=400, metadata={"help": "Rows of each held-out set and of the validation, at most."})
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that cannot be used, and say how many."})
    drop_duplicates: bool = field(
        default=False, metadata={"help": "Train a row once that stands there twice, and none that is also measured."}
    )
