"""The files of a folder of rows: which there are, and of which split each is, by what it is called."""

import re
from collections.abc import Callable
from pathlib import Path

from common.data.files import is_parquet, kind_of
from common.data.notes import note
from common.data.splits import NAMES, find_splits

OF_DATASETS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # say what a folder holds
SPLIT_NAMES = [name for names in NAMES.values() for name in names]


def split_of(path: Path) -> str | None:
    """Returns the split that a file is called after (`test.csv.gz`, `train-00000-of-00002.parquet`), if any."""
    name = re.sub(r"-\d+-of-\d+$", "", path.name.lower().partition(".")[0])
    return name if name in SPLIT_NAMES else None


def _resembles(path: Path) -> str | None:
    """Returns the split whose name is a word of a file's name (`squad-train.json`), if any."""
    words = re.split(r"[-_. ]", path.name.lower())
    return next((name for name in SPLIT_NAMES if name in words), None)


def find_files(folder: Path) -> dict[str, list[Path]]:
    """Returns the files of rows in a folder and those below it, by split; all are to be trained if none is called after one."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if (kind_of(path) or is_parquet(path)) and path.is_file() and path.name not in OF_DATASETS
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]

    def below(path: Path) -> str | None:
        return next((part for part in path.relative_to(folder).parts[:-1] if part.lower() in SPLIT_NAMES), None)

    ways: list[Callable[[Path], str | None]] = [
        split_of,
        below,
        lambda path: split_of(path) or below(path) or _resembles(path),
    ]
    for way in ways:
        found: dict[str, list[Path]] = {}
        for path in files:
            found.setdefault(way(path) or "", []).append(path)
        splits = find_splits(found)
        if "train" in splits or (splits and way is ways[-1]):
            kept = {split: found[split] for split in splits.values()}
            others = [str(path.relative_to(folder)) for path in files if not any(path in paths for paths in kept.values())]
            if others:
                note(f"{folder}: not read, as they are called after no split: {', '.join(others[:9])}")
            return kept
    return {"train": files} if files else {}
