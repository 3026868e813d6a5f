"""Generated pictures: what a seed changes, italics, and whole receipts."""

import pytest
from conftest import recipe_modules
from ocr_files import answers, load_parts

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("ocr_vision_language", ["data", "fields", "images", "metrics", "lesson.render"]) as modules:
        yield modules


def test_generated_rows(recipe):
    settings = {"dataset_name": "synthetic", "num_train": 300, "num_held_out": 60, "plain": True, "longest": 10}
    train, validation, held_out = load_parts(recipe, **settings)
    assert [len(train), len(validation)] == [300, 30]
    assert {name: len(set(answers(rows))) for name, rows in held_out.items()} == {"held_out": 60, "unseen_font": 60}
    render = recipe["render"]
    assert {row["images"][0].font for row in train + held_out["held_out"]} == set(render.TRAINED_FONTS)
    assert {row["images"][0].font for row in held_out["unseen_font"]} == set(render.UNSEEN_FONTS)
    for rows in held_out.values():
        assert not set(answers(rows)) & set(answers(train + validation))
    assert not set(answers(validation)) & set(answers(train))
    row = train[0]
    assert row["messages"][0] == {"role": "user", "content": "Read the text in the image."}
    assert row["fields"] is None
    assert len(answers([row])[0]) <= 10
    (image,) = recipe["images"].open_images(row)
    assert (image.mode, image.height) == ("RGB", 28)
    assert recipe["images"].open_images(row)[0].tobytes() == image.tobytes()


def test_the_seed_changes_what_is_trained_alone(recipe):
    settings = {"dataset_name": "synthetic", "num_train": 50}
    (first, *others), (second, *same), (again, *_) = (load_parts(recipe, seed=seed, **settings) for seed in (0, 1, 0))
    assert others == same
    assert first == again
    assert set(answers(first)) != set(answers(second))
    more, _, _ = load_parts(recipe, dataset_name="synthetic", num_train=2000, num_held_out=2)
    assert len(set(answers(more))) > 1900


def test_italics_are_in_no_other_run(recipe):
    upright, _, _ = load_parts(recipe, dataset_name="synthetic", num_train=200)
    train, _, held_out = load_parts(recipe, dataset_name="synthetic", num_train=200, italics=True)
    fonts = {row["images"][0].font for row in train}
    assert fonts == set(recipe["render"].ADAPTATION_FONTS)
    assert not fonts & {row["images"][0].font for row in upright}
    assert list(held_out) == ["held_out", "upright"]


def test_generated_receipts(recipe):
    train, _, held_out = load_parts(recipe, dataset_name="synthetic", num_train=21, num_held_out=5, units="both")
    assert list(held_out) == ["held_out", "unseen_font", "held_out_receipts", "unseen_font_receipts"]
    receipts = [row for row in train if row["fields"]]
    assert [len(train), len(receipts)] == [21, 11]
    assert train[:10] != receipts[:10]  # mixed
    assert all(row["fields"] for row in held_out["held_out_receipts"])
    rows = receipts + held_out["held_out_receipts"]
    score, _ = recipe["metrics"].score(rows, answers(rows))
    assert score["field_presence"]["value"] == score["exact_match"]["value"] == 1
    assert all(recipe["metrics"].has_field(answers([row])[0], value) for row in rows for value in row["fields"].values())
    assert recipe["images"].open_images(rows[0])[0].height > 100
    only, _, held_out = load_parts(recipe, dataset_name="synthetic", num_train=5, units="receipts")
    assert all(row["fields"] for row in only + held_out["held_out"])
