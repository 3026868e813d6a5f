"""Which pictures are trained, chosen by and reported on: the user's own splits, flags, groups and duplicates."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from common.run.config import parse

import pytest
from conftest import recipe_modules
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from ocr_files import COUNT, EXPECTED, TEXTS, ground_truth, load, png, save_pictures, shown, write_jsonl
from trl import SFTConfig

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


def parts_of(recipe: dict, name: object, **settings) -> dict[str, list[str]]:
    args = recipe["data"].OcrArguments(**({"dataset_name": str(name), "num_held_out": 9} | settings))
    train, validation, held_out = recipe["data"].load_data(args, 0)
    parts = {"train": train, "validation": validation, "test": held_out["held_out"]}
    return {part: sorted(row["messages"][-1]["content"] for row in rows) for part, rows in parts.items()}


def metadata(folder: Path, part: str) -> None:
    rows = [{"file_name": name, "text": f"{part} {name}"} for name in save_pictures(folder / part, ["0.png", "1.png"])]
    write_jsonl(folder / part / "metadata.jsonl", rows)


def one_metadata(folder: Path, part: str) -> None:
    names = save_pictures(folder / part, ["0.png", "1.png"])
    with (folder / "metadata.jsonl").open("a") as file:
        file.writelines(json.dumps({"file_name": f"{part}/{name}", "text": f"{part} {name}"}) + "\n" for name in names)


def tables(folder: Path, part: str) -> None:
    names = save_pictures(folder / "images" / part, ["0.png", "1.png"])
    write_jsonl(folder / f"{part}.jsonl", [{"image": f"images/{part}/{name}", "text": f"{part} {name}"} for name in names])


def in_parquet(folder: Path, part: str) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    columns = {"image": [{"bytes": png(n), "path": None} for n in range(2)], "text": [f"{part} {n}.png" for n in range(2)]}
    rows = Dataset.from_dict(columns, features=Features({"image": ImageFeature(), "text": Value("string")}))
    rows.to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")


def paddle(folder: Path, part: str) -> None:
    names = save_pictures(folder / part, ["0.png", "1.png"])
    lines = [f"{part}/{name}\t{part} {name}" for name in names]
    (folder / f"rec_gt_{part}.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("validation", ["validation", "val", "dev"])
@pytest.mark.parametrize("write", [metadata, one_metadata, tables, ground_truth, in_parquet, paddle])
def test_the_users_own_splits_are_taken(recipe, tmp_path: Path, write: Callable[[Path, str], None], validation: str):
    for part in ("train", validation, "test"):
        write(tmp_path / "data", part)
    expected = {"train": "train", "validation": validation, "test": "test"}
    found = parts_of(recipe, tmp_path / "data")
    assert found == {part: [f"{name} 0.png", f"{name} 1.png"] for part, name in expected.items()}


def test_the_test_split_chooses_nothing(recipe, tmp_path: Path):
    for part in ("train", "test"):
        metadata(tmp_path / "data", part)
    found = parts_of(recipe, tmp_path / "data")
    assert found["test"] == ["test 0.png", "test 1.png"]
    assert sorted(found["train"] + found["validation"]) == ["train 0.png", "train 1.png"]
    assert len(found["validation"]) == 1


def test_parts_are_given_by_flags(recipe, tmp_path: Path):
    for part in ("train", "mine", "yours"):
        metadata(tmp_path, part)
    given = {"validation_dataset_name": str(tmp_path / "mine"), "test_dataset_name": str(tmp_path / "yours")}
    assert parts_of(recipe, tmp_path / "train", **given) == {
        part: [f"{name} 0.png", f"{name} 1.png"]
        for part, name in (("train", "train"), ("validation", "mine"), ("test", "yours"))
    }


def test_paths_may_begin_elsewhere(recipe, tmp_path: Path):
    save_pictures(tmp_path / "elsewhere")
    rows = [{"image": f"{number}.png", "text": text} for number, text in enumerate(TEXTS)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    assert shown(recipe, load(recipe, path, image_folder=str(tmp_path / "elsewhere"))) == EXPECTED


def test_rows_of_a_group_stay_together(recipe, tmp_path: Path):
    save_pictures(tmp_path)
    rows = [{"image": f"{n % COUNT}.png", "text": f"{n}", "till": f"till {n % 5}"} for n in range(60)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    parts = parts_of(recipe, path, group_by="till", num_held_out=99)
    tills = [{int(text) % 5 for text in texts} for texts in parts.values()]
    assert sum(map(len, tills)) == len(set.union(*tills)) == 5
    assert sum(map(len, parts.values())) == 60


def test_the_same_picture_twice_is_counted_and_can_be_left_out(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Whatever its files are called."""
    for part, names in (("train", ["a.png", "b.png", "c.png", "d.png"]), ("validation", ["0.png"]), ("test", ["x.png"])):
        (tmp_path / part).mkdir()
        for number, name in enumerate(names):
            (tmp_path / part / name).write_bytes(png({"b.png": 0, "0.png": 9}.get(name, 2 if part == "test" else number)))
            text = "0" if name == "b.png" else f"{part} {name}" if name != "a.png" else "0"
            (tmp_path / part / name).with_suffix(".gt.txt").write_text(text)
    assert parts_of(recipe, tmp_path)["train"] == ["0", "0", "train c.png", "train d.png"]
    said = capsys.readouterr().out
    assert "1 of 4 training rows are the same as an earlier one: trained as they are" in said
    assert "1 training rows ask what is also measured: trained as they are" in said
    assert parts_of(recipe, tmp_path, drop_duplicates=True)["train"] == ["0", "train d.png"]


def test_an_evaluation_asks_as_the_run_did(tmp_path: Path, capsys: pytest.CaptureFixture):
    settings = {"question": "What stands here?", "min_pixels": 1000, "max_pixels": 30_000, "dataset_name": "my_lines"}
    record = {"recipe": "ocr_vision_language", "settings": settings, "world_size": 1}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with recipe_modules("ocr_vision_language", ["arguments", "evaluate"]) as modules:
        script, arguments = modules["evaluate"].__file__, modules["arguments"]
        argv = ["--model_name_or_path", str(tmp_path)]
        args, _, _ = parse(script, arguments.OcrArguments, SFTConfig, argv, refused=arguments.REFUSED)
        assert {name: vars(args)[name] for name in settings} == settings
        args, _, _ = parse(script, arguments.OcrArguments, SFTConfig, [*argv, "--question", "?"], refused=arguments.REFUSED)
        assert (args.question, args.max_pixels) == ("?", 30_000)
