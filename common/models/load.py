"""Models and tokenizers: a hub id, a folder, an adapter, or `tiny:ARCHITECTURE`."""

import json
import os
import re
import weakref
from collections.abc import Iterable
from datetime import date
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from common.data.hub import refusal
from common.data.templates import as_text, with_fixed_date, without_marks
from common.data.texts import Unreadable, decoded_text
from common.errors import BadRow, brief, fail
from common.models import mxfp4, tiny, vision, vision_tower, zero3
from common.models.adapters import check_lora_targets
from common.models.attention import choose_attention
from common.models.config import config_of_tiny, read_config, tiny_architecture
from common.models.end_of_turn import set_end_of_turn
from common.models.experts import use_sorted_experts
from common.models.families import CHAT_TEMPLATES, PICTURE_MODELS
from common.models.folder import config_folder, fail_to_load
from common.models.sampling import mend_sampling

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import save_model
from tokenizers import Tokenizer, models
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from trl import ModelConfig, get_quantization_config

SET_LINE = r"\{%%- set %s = .*? %%\}"  # what `with_variables` writes


def _trl_chat_template(model_type: str) -> str:
    return (files("trl") / "chat_templates" / f"{CHAT_TEMPLATES[model_type]}.jinja").read_text(encoding="utf-8")


def with_variables(tokenizer: PreTrainedTokenizerBase, variables: dict[str, object] | None) -> None:
    """Writes variables into a chat template, for training, evaluation, chat and export alike: they go with the tokenizer.

    Args:
        tokenizer: The model's tokenizer, with its chat template.
        variables: TRL's `chat_template_kwargs`, for example `{"enable_thinking": False}`.
    """
    lines = ""
    for name, value in (variables or {}).items():
        # One of a stage before, which would win, goes.
        earlier = rf"\A((?:{SET_LINE % '[a-zA-Z0-9_]+'})*?){SET_LINE % name}"
        tokenizer.chat_template = re.sub(earlier, r"\1", tokenizer.chat_template)
        lines += f"{{%- set {name} = {_literal(value)} %}}"
    tokenizer.chat_template = lines + tokenizer.chat_template


def _literal(value: object) -> str:
    """Returns a value as Jinja writes it."""
    return "none" if value is None else json.dumps(value)


def _fixed_texts(model_type: str, day: date) -> set[str]:
    """Returns the longer texts that a family's chat template writes into every conversation: Llama's 40 tokens of dates."""
    template = with_fixed_date(_trl_chat_template(model_type), day)
    renderer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=template)
    turns = [{"role": "user", "content": "?"}]
    rendered = renderer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return {text for text in re.split(r"<\|\w+\|>", rendered) if len(text) > 20}


def load_tokenizer(
    model_args: ModelConfig,
    texts: Iterable[str] = (),
    day: date = date(2024, 7, 26),
    chat_template_file: str | None = None,
) -> PreTrainedTokenizerBase:
    """Loads a model's tokenizer, with a chat template and a padding token.

    Args:
        model_args: Names the model.
        texts: What a `tiny:` model will read and write; its tokenizer is trained on it.
        day: What a chat template that names the day names; the default is the one that Llama's falls back to.
        chat_template_file: A chat template in the place of the model's own.

    Raises:
        SystemExit: With code 2 for an unknown tiny architecture, a folder or file that is not there or an unreachable hub.
    """
    name = model_args.model_name_or_path
    if name.startswith(tiny.PREFIX):
        model_type = tiny_architecture(name)
        phrases = [*sorted(_fixed_texts(model_type, day)), *tiny.TEMPLATE_WORDS.get(model_type, [])]
        tokenizer = tiny.tiny_tokenizer(texts, model_type, tiny.VOCAB_SIZES.get(model_type, 384), phrases)
    else:
        model_type = read_config(model_args).model_type
        try:
            source = {"revision": model_args.model_revision, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(name, **source)
        except Exception as error:  # the libraries raise whatever a broken file makes them stumble over
            fail_to_load(name, error)
    if tokenizer.chat_template is None and model_type in CHAT_TEMPLATES:
        tokenizer.chat_template = _trl_chat_template(model_type)
    if chat_template_file:
        name += f" with chat_template_file {chat_template_file}"
        try:
            tokenizer.chat_template = decoded_text(Path(chat_template_file))
        except Unreadable as error:
            fail(f"chat_template_file: {error}")
    try:
        tokenizer.chat_template = without_marks(with_fixed_date(as_text(tokenizer.chat_template), day))
    except BadRow as error:
        fail(f"model_name_or_path {name}: {error}")
    try:
        set_end_of_turn(tokenizer)
    except BadRow as error:
        fail(f"model_name_or_path {name}: {str(error).partition(';')[0]}; correct its chat template, or take another model")
    return tokenizer


def quantization_of(model_args: ModelConfig, config: PreTrainedConfig) -> BitsAndBytesConfig | None:
    """Returns how a model's weights are quantised while they are loaded, or None if they are not.

    Args:
        model_args: Says in how many bits.
        config: The model's configuration.
    """
    quantization = get_quantization_config(model_args)
    if quantization is not None and vision.is_vision_language(config):
        # The vision tower is a small part of the weights, and what it loses in 4 bits no later layer can bring back.
        quantization.llm_int8_skip_modules = ["model.visual", "lm_head"]
    return quantization


def _build_tiny(name: str, processing: PreTrainedTokenizerBase | ProcessorMixin) -> TemporaryDirectory:
    """Returns a folder with a tiny model with random weights, the same ones under every ZeRO stage."""
    # For each process its own: no other machine sees the folder.
    try:
        folder = TemporaryDirectory(prefix="tiny-")
    except OSError as error:
        fail(f"model_name_or_path {name} is built in a temporary folder, and there is none ({brief(error)}); set TMPDIR")
    config = config_of_tiny(name, processing)
    with zero3.unsharded():
        model = vision.auto_class(config).from_config(config)
    # Not `model.save_pretrained`, which writes on the first process only.
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder.name)
    model.generation_config.save_pretrained(folder.name)
    save_model(model, f"{folder.name}/model.safetensors", metadata={"format": "pt"})
    return folder


def _reloadable(name: str, revision: str) -> str:
    """Returns the name under which the same weights can be loaded once more: GRPOTrainer knows the name, not the revision."""
    if Path(name).is_dir():
        return os.path.relpath(name)
    cached = try_to_load_from_cache(name, "config.json", revision=revision) if revision != "main" else None
    # An adapter has no config.json, and needs no reference.
    return str(Path(cached).parent) if isinstance(cached, str) else name


def _set_names(model: PreTrainedModel, name: str, model_args: ModelConfig, is_kept: bool) -> None:
    """Writes down by which names a model is loaded once more; a tiny one is not kept."""
    # GRPOTrainer loads its reference model, of the KL term, by this name. With adapters the base is the reference, and the name
    # goes into the adapter's card.
    revision = "main" if model_args.use_peft else model_args.model_revision
    model.config.name_or_path = _reloadable(name, revision) if is_kept or not model_args.use_peft else ""
    # What PEFT writes down as an adapter's base, and loads it by: a relative path would be one from where it is loaded.
    if not is_kept:
        model.name_or_path = ""
    elif Path(name).is_dir():
        model.name_or_path = os.path.abspath(name)


def load_model(model_args: ModelConfig, tokenizer: PreTrainedTokenizerBase | ProcessorMixin) -> PreTrainedModel:
    """Loads a language model, or one that reads pictures as well, or a tiny one with random weights.

    Under ZeRO-3 transformers shards the weights while it loads them, if the training arguments were made before. A tiny model
    is built and saved first: loaded like any other, it is the same one under every ZeRO stage, after the same `set_seed`.

    Args:
        model_args: Names the model, its dtype, attention implementation and quantization.
        tokenizer: The model's tokenizer, or its processor.

    Raises:
        SystemExit: With code 2 if the attention implementation or the quantization does not fit the model, or its weights are
            not there in safetensors.
    """
    name = model_args.model_name_or_path
    built = _build_tiny(name, tokenizer) if name.startswith(tiny.PREFIX) else None
    name = built.name if built else name
    config = AutoConfig.from_pretrained(config_folder(name), revision=model_args.model_revision, trust_remote_code=False)
    check_lora_targets(model_args, config)
    dtype = model_args.dtype if model_args.dtype in ("auto", None) else getattr(torch, model_args.dtype)
    settings = {
        "revision": model_args.model_revision,
        "dtype": dtype,
        "attn_implementation": choose_attention(model_args.attn_implementation, dtype, config),
        "quantization_config": quantization_of(model_args, config),
    }
    try:
        model = mxfp4.from_pretrained(vision.auto_class(config), config, name, **settings)
    except OSError as error:
        why = refusal(error) or f"{brief(error)}; its weights must be there in safetensors"
        fail(f"model_name_or_path {name} cannot be loaded: {why}")
    # On a CPU, which waits for no program, padding costs more than it saves.
    if config.model_type in PICTURE_MODELS and settings["attn_implementation"] in (None, "sdpa") and torch.cuda.is_available():
        vision_tower.see_together(model)
    use_sorted_experts(model)
    adapted = model_args.use_peft
    zero3.register(model, adapted, (model_args.lora_target_parameters or []) if adapted else [])
    for module in model.modules():
        # In evaluations bitsandbytes (0.50, on CPUs with AVX512-BF16) packs 4-bit weights for a kernel without a gradient, and
        # leaves them packed when training goes on.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    mend_sampling(model, f"model_name_or_path {model_args.model_name_or_path}")
    _set_names(model, name, model_args, is_kept=built is None)
    if built:
        weakref.finalize(model, built.cleanup)  # the folder stays as long as the model
    return model
