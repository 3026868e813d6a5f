"""What a run's local inputs (data, roles, base model) looked like when it began, to refuse a run that goes on with others."""

from pathlib import Path
from typing import Any

from common.data.digest import WHOLE, digest

LOADED = [".safetensors", ".json", ".jinja", ".model", ".txt"]  # the files of a model's folder that loading it reads


def _of_file(path: Path) -> str:
    found = path.stat()
    # Of a large file only samples are read; the time tells of a change between them.
    time = f", changed {int(found.st_mtime)}" if found.st_size > WHOLE else ""
    return f"{found.st_size} bytes, sum {digest(path)}{time}"


def fingerprints(values: dict[str, Any], beside: Path) -> dict[str, str]:
    """Returns a line for each file that a setting names: its size and a sum of its content.

    Args:
        values: The settings by name; `dataset_name`, `deepspeed`, `..._file`, `..._path` are looked at if they are local.
        beside: The recipe's folder, in which a relative path of a `..._file` is looked for first.

    Returns:
        The lines by `setting path`. Of a model's folder what is loaded counts, of a data set's every file below it.
    """
    found: dict[str, str] = {}
    for setting, value in values.items():
        named = setting in ("dataset_name", "deepspeed") or setting.endswith(("_file", "_path"))
        if not named or not isinstance(value, str) or value in ("", "synthetic"):
            continue
        path = Path(value)
        if setting.endswith("_file") and (beside / value).is_file():
            path = beside / value
        if path.is_file():
            found[f"{setting} {value}"] = _of_file(path)
        elif path.is_dir():
            for file in sorted(path.rglob("*") if setting == "dataset_name" else path.iterdir()):
                name = file.relative_to(path)
                loaded = setting == "dataset_name" or file.suffix in LOADED
                if loaded and file.is_file() and not any(part.startswith(".") for part in name.parts):
                    found[f"{setting} {value}/{name}"] = _of_file(file)
    return found
