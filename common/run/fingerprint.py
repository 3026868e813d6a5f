"""What a run's local inputs (data, roles, base model) looked like when it began, to refuse a run that goes on with others."""

from pathlib import Path
from typing import Any

from common.data.checksum import WHOLE, checksum
from common.data.sources import sources_of

LOADED = [".safetensors", ".json", ".jinja", ".model", ".txt"]  # the files of a model's folder that loading it reads


def _of_file(path: Path) -> str:
    found = path.stat()
    # Of a large file only samples are read; the time tells of a change between them.
    time = f", changed {int(found.st_mtime)}" if found.st_size > WHOLE else ""
    return f"{found.st_size} bytes, sum {checksum(path)}{time}"


def _of_path(path: Path, what: str, is_data: bool) -> dict[str, str]:
    if path.is_file():
        return {what: _of_file(path)}
    found = {}
    for file in sorted(path.rglob("*") if is_data else path.iterdir()) if path.is_dir() else []:
        name = file.relative_to(path)
        if (is_data or file.suffix in LOADED) and file.is_file() and not any(part.startswith(".") for part in name.parts):
            found[f"{what}/{name}"] = _of_file(file)
    return found


def fingerprints(values: dict[str, Any], beside: Path) -> dict[str, str]:
    """Returns a line for each file that a setting names: its size and a checksum of its content.

    Args:
        values: The settings by name; `..dataset_name`, `deepspeed`, `..._file`, `..._path` are looked at if they are local.
        beside: The recipe's folder, in which a relative path of a `..._file` is looked for first.

    Returns:
        The lines by `setting path`. Of a model's folder what is loaded counts, of a data set's every file below it.
    """
    found: dict[str, str] = {}
    for setting, value in values.items():
        is_data = setting.endswith("dataset_name")
        if not (is_data or setting == "deepspeed" or setting.endswith(("_file", "_path"))) or not isinstance(value, str):
            continue
        for name in [source for source, _ in sources_of(value)] if is_data else [value]:
            if name not in ("", "synthetic"):
                path = beside / name if setting.endswith("_file") and (beside / name).is_file() else Path(name)
                found |= _of_path(path, f"{setting} {name}", is_data)
    return found
