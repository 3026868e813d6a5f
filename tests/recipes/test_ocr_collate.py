"""Batches with pictures equal the processor's own, for pictures of any size, several in a row, or none; labels on answers."""

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

from common.data.tokens import IGNORED
from common.models.load import load_model
from common.models.vision import load_processor

import pytest
import torch
from conftest import recipe_modules
from PIL import Image
from transformers import ProcessorMixin, set_seed
from trl import ModelConfig

LIMITS = {"min_pixels": 28 * 28, "max_pixels": 20 * 28 * 28}


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, ModuleType]]:
    with recipe_modules("ocr_vision_language", ["collate", "data", "evaluate", "images", "rows"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def processor() -> ProcessorMixin:
    return load_processor(ModelConfig(model_name_or_path="tiny:qwen2_vl"), **LIMITS, phrases=["Read."])


def picture(width: int, height: int) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def row(recipe: dict[str, ModuleType], images: list, messages: list[dict] | None = None) -> dict:
    messages = messages or [{"role": "user", "content": "Read."}, {"role": "assistant", "content": "42"}]
    (made,) = recipe["rows"].to_rows(recipe["rows"].Found({"messages": messages}, images), "Read.", where="row")
    return made


def mixed_rows(recipe: dict[str, ModuleType]) -> list[dict]:
    """Pictures of different sizes, one of which is resized; two in one row, with places of their own; and text alone."""
    places = [{"type": "text", "text": "First"}, {"type": "image"}, {"type": "text", "text": "then"}, {"type": "image"}]
    two = [{"role": "user", "content": places}, {"role": "assistant", "content": "AB"}]
    text = [{"role": "user", "content": "What is 6 * 7?"}, {"role": "assistant", "content": "42"}]
    return [
        row(recipe, [picture(112, 28)]),
        row(recipe, [picture(300, 150)]),
        row(recipe, [picture(56, 56), picture(28, 84)], two),
        row(recipe, [], text),
    ]


def collate(recipe: dict[str, ModuleType], processor: ProcessorMixin, rows: list[dict], max_length: int = 256) -> dict:
    args = recipe["data"].OcrArguments(dataset_name="test", **LIMITS)
    collator = recipe["collate"].Collator(processor, args, max_length)
    tokens, kept = collator.tokenize(rows, where="test")
    assert kept == rows
    return collator([tokens[number] for number in range(len(tokens))])


def test_a_batch_equals_the_processors(recipe, processor):
    rows = mixed_rows(recipe)
    batch = collate(recipe, processor, rows)
    texts, images = [], []
    for number, one in enumerate(rows):
        prompt = recipe["collate"].prompt_of(one)
        texts.append(processor.apply_chat_template([*prompt, one["messages"][-1]], tokenize=False))
        images += [recipe["images"].fit(image, **LIMITS) for image in rows[number]["images"]]
    expected = processor(images=images, text=texts, padding=True, padding_side="right", return_tensors="pt")
    assert batch.keys() - {"labels"} == expected.keys()
    for name in expected:
        assert batch[name].tolist() == expected[name].tolist(), name


def test_only_the_transcription_is_trained(recipe, processor):
    rows = mixed_rows(recipe)
    batch = collate(recipe, processor, rows)
    for tokens, labels, one in zip(batch["input_ids"], batch["labels"], rows, strict=True):
        trained = labels != IGNORED
        assert tokens[trained].equal(labels[trained])
        assert processor.tokenizer.decode(tokens[trained]) == one["messages"][-1]["content"] + "<|im_end|>"


def test_text_alone_makes_a_batch(recipe, processor):
    batch = collate(recipe, processor, mixed_rows(recipe)[3:])
    assert "pixel_values" not in batch
    assert batch["mm_token_type_ids"].sum() == 0


def test_a_batch_without_pictures_among_others_has_a_blank_one(recipe, processor):
    """The vision tower runs, and neither the loss nor a gradient is another for it."""
    args = recipe["data"].OcrArguments(dataset_name="test", **LIMITS)
    collator = recipe["collate"].Collator(processor, args, 256)
    rows = mixed_rows(recipe)
    tokens, _ = collator.tokenize(rows, where="test")
    set_seed(0)
    model = load_model(ModelConfig(model_name_or_path="tiny:qwen2_vl"), processor).eval()
    found = []
    for batch in (collate(recipe, processor, rows[3:]), collator([tokens[3]])):
        given = {"image_grid_thw": batch.get("image_grid_thw"), "mm_token_type_ids": batch["mm_token_type_ids"]}
        positions, _ = model.model.get_rope_index(batch["input_ids"], attention_mask=batch["attention_mask"], **given)
        for more in ({}, {"position_ids": positions}):
            model.zero_grad()
            output = model(**batch, **more)
            output.loss.backward()
            found.append((output.loss.item(), {name: weight.grad for name, weight in model.named_parameters()}))
    assert [loss for loss, _ in found] == pytest.approx([found[0][0]] * 4, rel=1e-5)
    seen = {name for name in found[0][1] if ".visual." in name}
    assert seen
    for _, gradients in found[2:]:
        assert all(gradients[name].abs().max() == 0 for name in seen)  # and there is one, for others to add theirs
        for name in gradients.keys() - seen:
            torch.testing.assert_close(gradients[name], found[0][1][name], rtol=1e-4, atol=1e-6)


def test_places_in_the_tokens_are_counted_before_training(recipe, processor, capsys):
    """Whatever a chat template makes of a row; a batch that is wrong all the same does not end an epoch in silence."""
    args = recipe["data"].OcrArguments(dataset_name="test", **LIMITS)
    good, bad = row(recipe, [picture(56, 28)]), row(recipe, [picture(56, 28)]) | {"where": "my.jsonl, line 2"}
    bad["messages"] = [{"role": "user", "content": "Read."}, {"role": "assistant", "content": "a<|image_pad|>b"}]
    collator = recipe["collate"].Collator(processor, args, 256)
    with pytest.raises(SystemExit):
        collator.tokenize([good, bad], where="my.jsonl")
    line = "error: my.jsonl, line 2: the chat template makes 2 places for 1 pictures"
    assert capsys.readouterr().err.startswith(line)
    args.skip_bad_rows = True
    tokens, kept = collator.tokenize([good, bad], where="my.jsonl")
    assert (len(tokens), kept) == (1, [good])
    odd = dict(tokens[0])
    odd["input_ids"], odd["labels"] = odd["input_ids"] + [collator.image_token], odd["labels"] + [IGNORED]
    with pytest.raises(IndexError):  # a StopIteration would end the epoch
        collator([odd])


def test_padding_and_other_rows_change_nothing(recipe, processor):
    """The loss of a batch of unlike rows is the mean over the tokens of the rows alone."""
    rows = mixed_rows(recipe)
    set_seed(0)
    model = load_model(ModelConfig(model_name_or_path="tiny:qwen2_vl"), processor).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        together = model(**collate(recipe, processor, rows)).loss
        for one in rows:
            batch = collate(recipe, processor, [one])
            trained = (batch["labels"] != IGNORED).sum().item()
            total, count = total + model(**batch).loss.item() * trained, count + trained
    assert together.item() == pytest.approx(total / count, rel=1e-5)


def test_rows_that_are_too_long_are_refused_or_left_out(recipe, processor, capsys):
    text = [{"role": "user", "content": "Read."}, {"role": "assistant", "content": "A" * 40}]  # too long without its picture
    rows = [row(recipe, [picture(112, 28)]), row(recipe, [picture(500, 500)]) | {"where": "my.jsonl, line 2"}]
    rows.append(row(recipe, [picture(28, 28)], text) | {"where": "my.jsonl, line 3"})

    def collator(max_length: int, skip_bad_rows: bool):
        args = recipe["data"].OcrArguments(dataset_name="test", skip_bad_rows=skip_bad_rows, **LIMITS)
        return recipe["collate"].Collator(processor, args, max_length=max_length)

    with pytest.raises(SystemExit):
        collator(30, False).tokenize(rows, where="my.jsonl")
    line = capsys.readouterr().err
    assert line.startswith("error: my.jsonl, line 2: the row has 3")
    assert "tokens, those of its pictures included, and max_length is 30; raise it" in line

    skipping = collator(30, True)
    tokens, kept = skipping.tokenize(rows, where="my.jsonl")
    assert len(tokens) == 1
    assert kept == rows[:1]
    assert capsys.readouterr().out.startswith("Left out 2 of 3 rows of my.jsonl. The first: my.jsonl, line 2: the row has 3")
    # What is kept is whole: a token for every 28 x 28 pixels.
    assert skipping([tokens[0]])["mm_token_type_ids"].sum() == 4

    with pytest.raises(SystemExit):
        collator(20, True).tokenize(rows[1:], where="my.jsonl")

    # The same of every set that is measured.
    args = recipe["data"].OcrArguments(dataset_name="test", skip_bad_rows=True, **LIMITS)
    sets = {"held_out": rows, "unseen_font": rows[:2], "none": []}
    kept = recipe["evaluate"].check_held_out(sets, processor, args, SimpleNamespace(max_length=30))
    assert kept == {"held_out": rows[:1], "unseen_font": rows[:1], "none": []}
    assert "my.jsonl has no row that can be used" in capsys.readouterr().err
