"""Loads what a run has trained, and talks to it."""

import argparse
import contextlib
import io
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.checkpoints import COMPLETE, newest_complete_checkpoint
from common.errors import brief, fail, say
from common.hub import is_path, use_cache_if_unreachable
from common.mxfp4 import from_pretrained
from common.record import RECORD, read_record
from common.vision import auto_class

import torch
from peft import PeftConfig, PeftModel
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    TextStreamer,
)

ROOT = Path(__file__).resolve().parent.parent

# --- Loading ------------------------------------------------------------------------------------------------------------


def _in_4_bits(settings: dict[str, Any], config: PreTrainedConfig) -> dict[str, Any]:
    """Returns what makes `from_pretrained` load the 4-bit weights that a run was trained with."""
    from common.models import quantization_of  # imports TRL, which takes seconds

    from trl import ModelConfig

    known = {field.name for field in fields(ModelConfig)}
    model_args = ModelConfig(**{name: value for name, value in settings.items() if name in known})
    named = settings.get("dtype") not in ("auto", None)
    return {
        "quantization_config": quantization_of(model_args, config),
        **({"dtype": getattr(torch, settings["dtype"])} if named else {}),
    }


def _load_base(adapter: Path, settings: dict[str, Any]) -> PreTrainedModel:
    """Loads the model that an adapter was trained on; one that was held in 4 bits is put back into the dtype from these."""
    trained_on = settings["model_name_or_path"]
    name = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    if not name:
        fail(f"{adapter}: its base model {trained_on} was built for the run and not kept; train from a saved model instead")
    # A relative path is meant from the folder in which the training was started, most likely the repository.
    places = [Path(name), ROOT / name, Path(trained_on)]
    found = next((str(place) for place in places if place.is_dir()), None)
    if found is None:
        if is_path(name):
            fail(
                f"{adapter}: its base model {name} is not there; put it back, or write where it is as "
                f"`base_model_name_or_path` in {adapter / 'adapter_config.json'}"
            )
        use_cache_if_unreachable()
    try:
        revision = settings.get("model_revision")
        config = AutoConfig.from_pretrained(found or name, revision=revision)
        loaded = {"revision": revision}
        if settings.get("load_in_4bit"):
            loaded |= _in_4_bits(settings, config)
        model = from_pretrained(auto_class(config), config, found or name, **loaded)
    except (OSError, ValueError) as error:
        fail(f"{adapter}: its base model {name} cannot be loaded: {brief(error)}")
    if settings.get("load_in_4bit"):
        # The adapter has learned to make up for what these weights lost: beside those that lost nothing it would be wrong.
        return model.dequantize()
    if settings.get("load_in_8bit"):
        say(f"The adapter was trained on its base model in 8 bits and is applied to it in {str(model.dtype)[6:]} here.")
    return model


def _join_shards(folder: Path) -> PreTrainedModel:
    """Loads a full model of which only ZeRO's shards were saved (`zero3_save_16bit_model: false`)."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    say(f"{folder} holds ZeRO shards and no whole weights: joining them.")
    with contextlib.redirect_stdout(io.StringIO()):  # a dozen lines on the layout of the shards
        weights = get_fp32_state_dict_from_zero_checkpoint(str(folder))
    config = AutoConfig.from_pretrained(folder)
    model = auto_class(config).from_config(config, dtype=config.dtype)
    model.load_state_dict(weights)
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def load_run(
    folder: str | Path, device: str | None = None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase | ProcessorMixin, dict[str, Any]]:
    """Loads the model of a run, ready to generate: whole weights, an adapter on its base model, or ZeRO's shards.

    Args:
        folder: The run's folder, or one of its checkpoints.
        device: Where the model goes; a GPU if there is one and nothing is given.

    Returns:
        The model, its tokenizer (of a model that reads pictures its processor), and the run's settings by name.

    Raises:
        SystemExit: With code 2 and one line if there is no complete run, or the adapter's base model is missing.
    """
    folder = Path(folder)
    run, record = read_record(folder)
    settings = record["settings"]
    if not (folder / COMPLETE).exists():
        checkpoint = newest_complete_checkpoint(run)
        cure = f"pass {checkpoint}" if checkpoint else "the command that started the run continues it"
        fail(f"{folder} is not complete; {cure}")
    parts = [str(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    if parts:
        fail(f"{folder} is a run of several parts and holds no model itself; pass one of {', '.join(parts)}")
    tokenizer = processing = AutoTokenizer.from_pretrained(folder)
    if (folder / "processor_config.json").exists():
        processing = AutoProcessor.from_pretrained(folder)
    if (folder / "adapter_config.json").exists():
        base = _load_base(folder, settings)
        with warnings.catch_warnings():
            # Says how to merge an adapter of tied embeddings; common.export does so.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            model = PeftModel.from_pretrained(base, folder)
    elif any(folder.glob("*.safetensors")):
        base = model = auto_class(AutoConfig.from_pretrained(folder)).from_pretrained(folder)
    else:
        base = model = _join_shards(folder)
    # It was trained to end a turn with the tokenizer's end of text, which the base model may not have known.
    stops = base.generation_config.eos_token_id
    stops = set(stops if isinstance(stops, list) else [] if stops is None else [stops])
    base.generation_config.eos_token_id = sorted(stops | {tokenizer.eos_token_id})
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval(), processing, settings


# --- Talking ------------------------------------------------------------------------------------------------------------


def answer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
) -> str:
    """Answers the last message of a conversation, and prints the answer while it is generated.

    Args:
        model: The model; its `generation_config` says how the answer is generated.
        tokenizer: Its tokenizer, with a chat template.
        messages: The conversation so far.
        tools: The schemas of the tools that it may call.

    Returns:
        The answer, without special tokens.
    """
    inputs = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    tokens, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    output = model.generate(input_ids=tokens, attention_mask=mask, streamer=streamer)
    return tokenizer.decode(output[0, tokens.shape[1] :], skip_special_tokens=True)


def _talk(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, system_prompt: str) -> None:
    """Answers each line of standard input until it ends."""
    start = [{"role": "system", "content": system_prompt}] if system_prompt else []
    messages = list(start)
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print("/new starts over, Ctrl-D ends.")
    while True:
        line = input("> " if at_terminal else "").strip()
        if line == "/new":
            messages = list(start)
        elif line:
            messages.append({"role": "user", "content": line})
            messages.append({"role": "assistant", "content": answer(model, tokenizer, messages)})


def main(arguments: list[str] | None = None) -> None:
    """Talks to the model of a run: each line of standard input is a turn.

    Args:
        arguments: The command line; that of this process if not given.

    Raises:
        SystemExit: With code 2 and one line for a mistake in them.
    """
    parser = argparse.ArgumentParser(prog="recipes chat", description=main.__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint-N in it")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the likeliest token")
    parser.add_argument("--max_new_tokens", type=int, help="where an answer is cut; max_completion_length of the run, or 256")
    parser.add_argument("--system_prompt", help="what the model is told first; that of the run if not given")
    args = parser.parse_args(arguments)
    if args.temperature < 0:
        fail(f"--temperature is {args.temperature:g}; use 0 for the likeliest token, or a number above 0")
    if args.max_new_tokens is not None and args.max_new_tokens < 1:
        fail(f"--max_new_tokens is {args.max_new_tokens}; use at least 1")
    model, tokenizer, settings = load_run(args.run)
    if args.system_prompt is None:
        args.system_prompt = settings.get("system_prompt") or ""
    # As when the run was measured: not with the penalties and the sampling that a model suggests for chatting.
    model.generation_config = GenerationConfig(
        max_new_tokens=args.max_new_tokens or settings.get("max_completion_length") or 256,
        do_sample=args.temperature > 0,
        temperature=args.temperature if args.temperature > 0 else 1.0,
        top_k=0 if args.temperature > 0 else 50,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    try:
        _talk(model, tokenizer, args.system_prompt)
    except (EOFError, KeyboardInterrupt):
        if sys.stdin.isatty():
            print()


if __name__ == "__main__":
    main()
