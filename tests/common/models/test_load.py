"""Loading: 4-bit weights keep their gradients, and pictures are read by models that were made for it."""

from datetime import date
from pathlib import Path

from common.models.attention import choose_attention
from common.models.load import load_model, load_tokenizer
from common.models.vision import auto_class, load_processor

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, LlamaConfig, set_seed
from trl import ModelConfig


def test_four_bit_weights_keep_their_gradient_after_an_evaluation(tmp_path: Path):
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["one two three"])
    set_seed(0)
    load_model(ModelConfig(model_name_or_path="tiny:qwen3"), tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = {"model_name_or_path": str(tmp_path), "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "dtype": "float32"}
    model = load_model(ModelConfig(**settings), tokenizer)

    def gradient() -> torch.Tensor:
        embeddings = torch.linspace(-1, 1, 8 * 128).view(1, 8, 128).requires_grad_()
        model.train()(inputs_embeds=embeddings).logits.square().mean().backward()
        return embeddings.grad

    before = gradient()
    with torch.no_grad():
        model.eval()(input_ids=torch.arange(8)[None])
    assert before.abs().max() > 0
    torch.testing.assert_close(gradient(), before)


def test_a_model_that_reads_pictures_is_loaded_as_one(tmp_path: Path):
    model_args = ModelConfig(model_name_or_path="tiny:qwen2_vl")
    processor = load_processor(model_args, min_pixels=784, max_pixels=7840, phrases=["Read."])
    load_model(model_args, processor).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert auto_class(AutoConfig.from_pretrained(tmp_path)) is AutoModelForImageTextToText
    assert auto_class(AutoConfig.for_model("qwen3")) is AutoModelForCausalLM
    saved = ModelConfig(model_name_or_path=str(tmp_path))
    again = load_processor(saved, min_pixels=1568, max_pixels=3136)
    assert load_model(saved, again).config.model_type == "qwen2_vl"
    # Others that load the processor resize as in training.
    assert dict(AutoProcessor.from_pretrained(tmp_path).image_processor.size) == {"shortest_edge": 784, "longest_edge": 7840}
    assert dict(again.image_processor.size) == {"shortest_edge": 1568, "longest_edge": 3136}
    text = "<|vision_start|><|image_pad|><|vision_end|>Read."
    assert again.tokenizer(text)["input_ids"] == processor.tokenizer(text)["input_ids"]


def test_the_date_in_a_chat_template_is_fixed():
    for family, line in (("llama", "Today Date: 03 Feb 2031"), ("gpt_oss", "Current date: 2031-02-03")):
        tokenizer = load_tokenizer(ModelConfig(model_name_or_path=f"tiny:{family}"), ["one"], date(2031, 2, 3))
        assert line in tokenizer.apply_chat_template([{"role": "user", "content": "one"}], tokenize=False)


def test_flex_attention_without_a_gpu_becomes_eager(capsys: pytest.CaptureFixture[str]):
    if torch.cuda.is_available():
        assert choose_attention("flex_attention", torch.bfloat16, LlamaConfig()) == "flex_attention"
    else:
        assert choose_attention("flex_attention", torch.bfloat16, LlamaConfig()) == "eager"
        assert "flex_attention needs an NVIDIA GPU: using eager" in capsys.readouterr().out
    assert choose_attention("eager", torch.float32, LlamaConfig()) == "eager"
