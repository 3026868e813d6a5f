"""Rows and data sets of pictures that cannot be used: each is one line, or left out, whichever process has found it."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from accelerate import PartialState
from conftest import recipe_modules
from forks import fork_one_of_two, free_port
from ocr_files import all_rows, answers, asked, load_parts, save_images, say, solid_png, to_jsonl
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("ocr_vision_language", ["data", "fields", "images", "metrics", "lesson.render"]) as modules:
        yield modules


def row(**columns) -> Callable[[Path], str]:
    """Returns what writes five good rows, of which the third is changed."""

    def write(folder: Path) -> str:
        rows = [{"image": name, "text": f"TEA {name}"} for name in save_images(folder, 5)]
        rows[2] = {key: value for key, value in (rows[2] | columns).items() if value is not None}
        (folder / "empty.png").touch()
        (folder / "long.png").write_bytes(solid_png(size=(3000, 10)))
        (folder / "data.jsonl").write_text(to_jsonl(rows))
        return "data.jsonl"

    return write


LINE = "{folder}/data.jsonl, line 3: "
MISTAKES = [
    (row(image="none.png"), LINE + "there is no file {folder}/none.png; correct the path, which starts at the folder"),
    (row(image="empty.png"), LINE + "{folder}/empty.png is empty; copy it again or remove the row"),
    (row(image="data.jsonl"), LINE + "{folder}/data.jsonl is none of BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP; save it"),
    (row(image="long.png"), LINE + "the picture is 3000 x 10, too long and thin for patches; cut it up, or raise max_pixels"),
    (row(image=None), LINE + "no picture (found: text); write its path in `image` or `file_name`"),
    (row(image=3), LINE + "its pictures are [3]; write a path in `image`, or a list of paths in `images`"),
    (row(text=""), LINE + "`text` must be a text, not ''; fill it in or remove the row"),
    (row(text=12.3), LINE + "`text` must be a text, not 12.3; fill it in or remove the row"),
    (row(caption="A"), LINE + "`text` and `caption` can both be the answer: say which, for example `--columns answer=text`"),
    (row(text=None, labl="A"), LINE + "no `text`, but `labl`; did you mean `label`? Rename it, or name it with `--columns`"),
    (row(text=None, label=3), LINE + "no `text` (found: image, label); write `image` and `text`, or `messages`"),
    (row(text=None, ground_truth="{}"), LINE + '`ground_truth` must be JSON with a key "gt_parse", as in CORD'),
    (row(fields="9.00"), LINE + "`fields` is a str; write an object with company, date, address, total, or leave it out"),
    (row(messages=[say("a"), *asked("b")]), LINE + "the last message must be the assistant's, with a text"),
    (row(messages=[say("a")]), LINE + "nothing stands before what the assistant says; add what is asked, or remove the row"),
    (
        row(messages=[{"role": "system", "content": "a"}, say("a")]),
        LINE + "there are pictures, and no message of the user that they could stand in; add one",
    ),
    (row(messages=[{"role": "usr", "content": "a"}]), LINE + "message 1: unknown role `usr`"),
    (
        row(messages=[{"role": "user", "content": [{"type": "image"}] * 2}, say("a")]),
        LINE + "the messages have places for 2 images, and the row has 1; make them as many",
    ),
]


@pytest.mark.parametrize(("write", "line"), MISTAKES)
def test_a_bad_row(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, write: Callable[[Path], str], line: str):
    name = write(tmp_path)
    with pytest.raises(SystemExit) as ended:
        load_parts(recipe, dataset_name=str(tmp_path / name), max_pixels=64 * 28 * 28)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"error: {line.format(folder=tmp_path)}" in error
    # With skip_bad_rows the row is left out, and counted.
    settings = {"dataset_name": str(tmp_path / name), "max_pixels": 64 * 28 * 28, "skip_bad_rows": True}
    train, validation, held_out = load_parts(recipe, **settings)
    assert [len(train), len(validation), len(held_out["held_out"])] == [2, 1, 1]
    said = capsys.readouterr().out
    assert said.startswith(f"Left out 1 of 5 rows of {tmp_path / name} (train). The first: {line.format(folder=tmp_path)}")
    assert said.count("\n") == 2  # and the sizes of the parts


def test_a_picture_that_ends_early_is_left_out_before_training(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    names = save_images(tmp_path, 5)
    for name in names[1:3]:
        (tmp_path / name).write_bytes(solid_png(size=(600, 300))[:-40])
    (tmp_path / "metadata.jsonl").write_text(to_jsonl([{"file_name": name, "text": name} for name in names]))
    with pytest.raises(SystemExit):
        load_parts(recipe, dataset_name=str(tmp_path))
    assert f"error: {tmp_path}/metadata.jsonl, line 2: {tmp_path}/1.png is damaged (it ends early)" in capsys.readouterr().err
    assert answers(all_rows(recipe, dataset_name=str(tmp_path), skip_bad_rows=True)) == ["0.png", "3.png", "4.png"]
    assert capsys.readouterr().out.startswith(f"Left out 2 of 5 rows of {tmp_path} (train). The first: ")


@pytest.mark.parametrize("told", ["LOCAL_WORLD_SIZE", "LOCAL_SIZE"])
def test_processes_share_the_pictures_out(told: str, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each is decoded by one of two processes, and both have the same rows; DeepSpeed's launcher has another name for two."""
    folder = tmp_path / "pictures"
    names = save_images(folder, 6)
    (folder / names[3]).write_bytes(solid_png(size=(600, 300))[:-40])
    (folder / "metadata.jsonl").write_text(to_jsonl([{"file_name": name, "text": name} for name in names]))
    opened = recipe["data"].open_image

    def work(rank: int) -> None:
        def note(source: Path, **how: bool) -> Image.Image:
            with (tmp_path / f"{rank}.txt").open("a") as file:
                file.write(f"{Path(source).name}\n")
            return opened(source, **how)

        monkeypatch.setattr(recipe["data"], "open_image", note)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        monkeypatch.setenv(told, "2")
        PartialState(cpu=True)
        rows = all_rows(recipe, dataset_name=str(folder), skip_bad_rows=True)
        (tmp_path / f"{rank}.rows").write_text(repr([(row["where"], row["digest"], row["messages"]) for row in rows]))

    port = free_port()
    workers = [fork_one_of_two(rank, port, partial(work, rank)) for rank in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    first, second = ((tmp_path / f"{rank}.rows").read_text() for rank in range(2))
    assert first == second
    alone = all_rows(recipe, dataset_name=str(folder), skip_bad_rows=True)
    assert repr([(row["where"], row["digest"], row["messages"]) for row in alone]) == first
    looked_at = [sorted((tmp_path / f"{rank}.txt").read_text().split()) for rank in range(2)]
    assert looked_at == [["0.png", "2.png", "4.png"], ["1.png", "5.png"]]


def nothing(folder: Path) -> str:
    return ""


def broken_table(folder: Path) -> str:
    (folder / "data.jsonl").write_text('{"image": "a.png", "text": "a"}\n{"image":\n')
    return "data.jsonl"


@pytest.mark.parametrize(
    ("write", "settings", "line"),
    [
        (nothing, {"num_held_out": 0}, "num_held_out is 0: without held-out problems nothing can be measured; use at least 1"),
        (nothing, {"units": "recipts"}, "units is recipts; did you mean `receipts`?"),
        (nothing, {"min_pixels": 900, "max_pixels": 800}, "min_pixels is 900 and max_pixels 800: use at least 1, and no less"),
        (nothing, {"dataset_name": "synthetic"}, "num_train is 0: say how many pictures to generate, for example"),
        (nothing, {"dataset_name": "synthetic", "num_train": 5, "shortest": 9, "longest": 8}, "shortest is 9 and longest 8: "),
        (
            nothing,
            {"dataset_name": "synthetic", "num_train": 5, "shortest": 2, "longest": 2, "num_held_out": 400, "plain": True},
            "there are too few texts of 2 to 2 characters for num_held_out 400; lower it",
        ),
        (broken_table, {}, "{folder}/data.jsonl, line 2: not valid JSON (Expecting value); write one JSON object a line"),
        (lambda folder: "none.jsonl", {}, "dataset_name {folder}/none.jsonl: there is no such file; pass an existing file"),
    ],
)
def test_mistake(recipe, tmp_path: Path, capsys: pytest.CaptureFixture, write: Callable, settings: dict, line: str):
    name = write(tmp_path)
    with pytest.raises(SystemExit) as ended:
        load_parts(recipe, **({"dataset_name": str(tmp_path / name)} | settings))
    assert ended.value.code == 2
    assert f"error: {line.format(folder=tmp_path)}" in capsys.readouterr().err
