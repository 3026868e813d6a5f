"""The families of models that read pictures: batches, positions, and all pictures of a batch through the tower at once."""

from collections.abc import Iterator
from copy import deepcopy
from types import ModuleType

from common.data.tokens import IGNORED
from common.models import vision_tower
from common.models.families import PICTURE_MODELS
from common.models.load import load_model
from common.models.vision import load_processor

import pytest
import torch
from conftest import recipe_modules
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin
from trl import ModelConfig
from vision_families import FAMILIES, save_vision_model

LIMITS = {"min_pixels": 32 * 32, "max_pixels": 30 * 32 * 32}


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, ModuleType]]:
    with recipe_modules("ocr_vision_language", ["collate", "data", "images", "rows"]) as modules:
        yield modules


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProcessorMixin, PreTrainedModel]:
    folder = tmp_path_factory.mktemp("family") / request.param
    save_vision_model(request.param, folder)
    model_args = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    processor = load_processor(model_args, **LIMITS)
    return processor, load_model(model_args, processor).eval()


def rows_of(recipe: dict[str, ModuleType]) -> list[dict]:
    """Pictures of unlike sizes, two in one row, and a row without any."""
    sizes = [[(200, 30)], [(40, 30)], [(90, 180)], [(64, 64), (30, 100)], []]
    rows = []
    for number, of_row in enumerate(sizes):
        images = [Image.linear_gradient("L").rotate(90 * number).resize(size).convert("RGB") for size in of_row]
        messages = [{"role": "user", "content": "Read."}, {"role": "assistant", "content": f"TOTAL {number}"}]
        rows += recipe["rows"].to_rows(recipe["rows"].Found({"messages": messages}, images), "Read.", where="row")
    return rows


def batch_of(recipe: dict[str, ModuleType], processor: ProcessorMixin, model: PreTrainedModel | None = None) -> dict:
    args = recipe["data"].OcrArguments(dataset_name="test", **LIMITS)
    collator = recipe["collate"].Collator(processor, args, 256)
    collator.get_positions = model.model.get_rope_index if model else None
    tokens, _ = collator.tokenize(rows_of(recipe), where="test")
    return collator([tokens[number] for number in range(len(tokens))])


def test_a_batch_is_the_processors_own(recipe, loaded):
    processor, _ = loaded
    batch, rows = batch_of(recipe, processor), rows_of(recipe)
    texts, images = [], []
    for row in rows:
        messages = [*recipe["collate"].prompt_of(row), row["messages"][-1]]
        texts.append(processor.tokenizer.apply_chat_template(messages, tokenize=False))
        patch_size = processor.image_processor.patch_size
        images += [recipe["images"].fit(image, **LIMITS, patch_size=patch_size) for image in row["images"]]
    expected = processor(images=images, text=texts, padding=True, padding_side="right", return_tensors="pt")
    for name in ("input_ids", "attention_mask", "pixel_values", "image_grid_thw"):
        assert batch[name].tolist() == expected[name].tolist(), name
    for labels, row in zip(batch["labels"], rows, strict=True):
        text = processor.tokenizer.decode(labels[labels != IGNORED])
        assert text.strip() == row["messages"][-1]["content"] + "<|im_end|>"


def test_positions_of_the_loader_are_the_models_own(recipe, loaded):
    processor, model = loaded
    batch = batch_of(recipe, processor, model)
    positions = batch.pop("position_ids")
    assert positions.shape == (3, *batch["input_ids"].shape)
    with torch.no_grad():
        assert model(**batch).loss == model(**batch, position_ids=positions).loss
        # They are looked at, or this would say nothing.
        assert model(**batch, position_ids=positions.flip(-1)).loss != model(**batch).loss


def test_pictures_seen_at_once_are_seen_as_one_after_the_other(recipe, loaded):
    processor, model = loaded
    assert model.config.model_type in PICTURE_MODELS
    batch = batch_of(recipe, processor)

    one = {name: batch[name][:1] for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw")}
    one["pixel_values"] = batch["pixel_values"][: one["image_grid_thw"].prod()]

    def completion() -> list[int]:
        return model.generate(**one, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters()}

    expected, written = gradients(), completion()
    assert all(gradient.abs().max() > 0 for name, gradient in expected.items() if "qkv.weight" in name)
    vision_tower.see_together(model)
    together = []
    original = vision_tower.scaled_dot_product_attention
    try:
        vision_tower.scaled_dot_product_attention = lambda *args, **more: together.append(1) or original(*args, **more)
        found, written_again = gradients(), completion()
    finally:
        vision_tower.scaled_dot_product_attention = original
        model.set_attn_implementation({"vision_config": "sdpa"})
    assert len(together) == 4  # once in each layer of the tower, to train and to write
    assert written_again == written
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("recompute", [False, True])
def test_nothing_is_computed_backwards_through_a_frozen_tower(recipe, loaded, recompute: bool):
    """With adapters; the gradients of the others are what they were."""
    processor, model = loaded
    batch = batch_of(recipe, processor)

    def gradients(freeze: bool) -> tuple[dict[str, torch.Tensor], list[bool]]:
        copy = deepcopy(model).train()
        if freeze:
            vision_tower.freeze_tower(copy)
        torch.manual_seed(0)
        lora = LoraConfig(r=2, target_modules="all-linear", exclude_modules=r".*\.visual\..*", init_lora_weights=False)
        adapted = get_peft_model(copy, lora)
        if recompute:
            adapted.enable_input_require_grads()  # as TRL does
            copy.activation_checkpointing_enable()
        seen = []
        copy.model.visual.merger.register_forward_hook(lambda module, args, output: seen.append(args[0].requires_grad))
        adapted(**batch).loss.backward()
        return {name: weight.grad for name, weight in adapted.named_parameters() if weight.grad is not None}, seen

    expected, through = gradients(freeze=False)
    found, not_through = gradients(freeze=True)
    # transformers does not know the patches of qwen3_vl for input embeddings.
    assert through == [recompute and model.config.model_type != "qwen3_vl"]
    assert not_through == [False]
    assert expected.keys() == found.keys()
    assert not any(".visual." in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_a_blank_picture_changes_nothing(recipe, loaded):
    """The loss of a row of text alone, by itself and with the blank picture that it is given among rows with pictures."""
    processor, model = loaded
    args, rows = recipe["data"].OcrArguments(dataset_name="test", **LIMITS), rows_of(recipe)
    losses = []
    for those in (rows[-1:], rows):
        collator = recipe["collate"].Collator(processor, args, 256)
        collator.get_positions = model.model.get_rope_index
        tokens, _ = collator.tokenize(those, where="test")
        batch = collator([tokens[len(those) - 1]])
        assert ("pixel_values" in batch) == (those is rows)
        if those is not rows:
            batch.pop("position_ids", None)
        with torch.no_grad():
            losses.append(model(**batch).loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
