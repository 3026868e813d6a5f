"""A standalone model of a run: adapters merged, shards joined, and compared with the trained model before it is kept."""

import gc
import os
import shutil
import warnings
from pathlib import Path

from common.commands.export_check import check_equal, check_tensors, difference, sample_logits, sample_prompt
from common.commands.push import check_push, upload
from common.data.runs import read_record, read_rows
from common.data.templates import named_date, with_clock
from common.errors import fail, say
from common.models.base import base_of
from common.models.in_files import cast_in_files, load_in_files, return_freed_memory
from common.models.older_readers import write_for_older_readers
from common.models.sampling import mend_sampling
from common.models.saved import empty_model, load_run
from common.models.vision import auto_class
from common.report.card import card_of_export, write_card
from common.run.disk import check_host_memory, check_room, naming_disk_faults
from common.run.files import open_to_readers

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightConverter

# Of models of 200 to 300 million parameters this was measured (tests/reliability/test_export_memory.py), and some more: in
# bytes, of each number in the largest weight, and of each parameter.
AT_LEAST, LARGEST = 250e6, 8
IN_4_BITS, WITH_DORA, IN_SHARDS = 2, 7, 4.4


def _target(run: Path, folder: Path, output_dir: Path | None) -> Path:
    """Returns the folder to be made; not inside a checkpoint, which a run that goes on may remove (`save_total_limit`)."""
    target = output_dir or run / ("export" if folder == run else f"export-{folder.name}")
    if os.path.lexists(target):
        fail(f"output_dir {target} is there already; choose another --output_dir, or remove it")
    return target


def _check_room(folder: Path, target: Path) -> None:
    """Fails before anything is loaded if the memory or the disk is too small."""
    model, dtype, settings = empty_model(folder)
    sizes = [parameter.numel() for parameter in model.parameters()]
    memory, count = AT_LEAST + LARGEST * max(sizes), sum(sizes)
    # What does not go weight by weight: loading in 4 bits, DoRA's merging, joining shards, taking experts apart.
    adapted = (folder / "adapter_config.json").exists()
    if adapted and settings.get("load_in_4bit"):
        memory += IN_4_BITS * count
    if adapted and settings.get("use_dora"):
        memory += WITH_DORA * count
    if not any(folder.glob("*.safetensors")):
        memory += (IN_SHARDS + dtype.itemsize) * count
    if any(isinstance(step, WeightConverter) for step in get_checkpoint_conversion_mapping(model.config.model_type) or []):
        memory += dtype.itemsize * count
    what = f"{folder}: exporting {count:,} parameters"
    check_host_memory(int(memory), what, "end other programs, or export on a machine with more")
    # In float32, in which it is compared, beside the export.
    check_room(target, count * (4 + dtype.itemsize), "make room, or choose another --output_dir", "the export")


def _merge(model: PeftModel) -> PreTrainedModel:
    """Adds an adapter to the weights it belongs to, in their dtype."""
    base = model.get_base_model()
    embeddings, head = base.get_input_embeddings(), base.get_output_embeddings()
    if base.config.tie_word_embeddings and any(isinstance(layer, BaseTunerLayer) for layer in (embeddings, head)):
        # One matrix serves as both, and the adapter belongs to one of them: added to both it would be another model.
        owner = getattr(head, "base_layer", head)
        owner.weight = torch.nn.Parameter(owner.weight.detach().clone())
        base.config.tie_word_embeddings = False
    with warnings.catch_warnings():
        # Says the same of embeddings that were trained as a whole, beside the adapter.
        warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
        return model.merge_and_unload()


def _write_card(working: Path, folder: Path, exported: str) -> None:
    """Writes the run's card, or for a checkpoint one with the measures up to its step, and how the export was made."""
    run, record = read_record(folder)
    card = working / "README.md"
    if folder == run:
        shutil.copyfile(run / "README.md", card)
    else:
        last_step = int(folder.name.rpartition("-")[2])
        header = [
            line[2:].partition(": ")
            for line in (run / "config.yaml").read_text(encoding="utf-8").splitlines()
            if line.startswith("# ")
        ]
        write_card(
            working,
            title=f"{folder.name} of the recipe {record['recipe']}",
            summary="The measures are the last ones up to this step.",
            settings=record["settings"],
            rows=[row for row in read_rows(run / "metrics.jsonl") if row["step"] <= last_step],
            facts={"ran on" if name == record["recipe"] else name: value for name, _, value in header},
            model_name=run.name,
        )
    text = card_of_export(card.read_text(encoding="utf-8"), working, record["settings"], exported)
    card.write_text(text, encoding="utf-8")


def _dated(tokenizer: PreTrainedTokenizerBase | ProcessorMixin) -> str:
    """Puts the clock back into the chat template; returns what is to be said of the date that training saw."""
    fixed = tokenizer.chat_template
    day, tokenizer.chat_template = named_date(fixed), with_clock(fixed)
    if day is None:
        return ""
    if tokenizer.chat_template == fixed:
        return f" Its chat template names the day {day}: the run kept no other one."
    return f" In training its chat template named the day {day}; here it looks at the clock, as that of the base model does."


def _read_back(working: Path, tokenizer: PreTrainedTokenizerBase | ProcessorMixin, prompt: str) -> torch.Tensor:
    """Returns the logits of a prompt as whoever loads the export computes them, with its own tokenizer."""
    config = AutoConfig.from_pretrained(working)
    model = load_in_files(auto_class(config), config, str(working), working)
    cast_in_files(model, torch.float32, working)
    reader = (AutoProcessor if isinstance(tokenizer, ProcessorMixin) else AutoTokenizer).from_pretrained(working)
    if reader.chat_template != tokenizer.chat_template:
        fail("the export read back has another chat template than was saved; nothing was exported")
    return sample_logits(model, reader, prompt)


def _make(folder: Path, working: Path) -> None:
    """Writes the export of a run and compares it with the run's model."""
    return_freed_memory()
    # On the CPU, where float32 is exact.
    model, tokenizer, settings = load_run(folder, device="cpu", files=working)
    adapted = isinstance(model, PeftModel)
    base = base_of(model)
    if hasattr(base.config, "quantization_config"):
        fail(f"{folder}: {settings['model_name_or_path']} is stored quantized; an export needs a full-precision base model")
    mend_sampling(base, settings["model_name_or_path"] if adapted else str(folder))
    dtype, prompt = base.dtype, sample_prompt(tokenizer)
    cast_in_files(model, torch.float32, working)
    trained = sample_logits(model, tokenizer, prompt)
    if not trained.isfinite().all():
        fail(f"{folder}: its logits are not finite, so the training has diverged; export an earlier checkpoint")
    if adapted:
        model = _merge(model)
        check_equal(trained, sample_logits(model, tokenizer, prompt), "the merged model is not the trained one")
    model.config.use_cache = True  # training turns it off

    date = _dated(tokenizer)
    cast_in_files(model, dtype, working)
    model.save_pretrained(working)
    tokenizer.save_pretrained(working)
    write_for_older_readers(working)
    check_tensors(working)
    cast_in_files(model, torch.float32, working)
    rounded = sample_logits(model, tokenizer, prompt)
    del model, base  # one model at a time
    gc.collect()  # modules with adapters hold each other
    exported = _read_back(working, tokenizer, prompt)
    check_equal(rounded, exported, "the export read back is not what was saved")

    name = str(dtype).removeprefix("torch.")
    made, reference = f"The weights are those of {folder.name}, in {name}.", "what was trained"
    if adapted:
        lossy = ", put back from the 4 bits that it was trained beside," if settings.get("load_in_4bit") else ""
        rounded_to = "" if dtype == torch.float32 else f", then rounded to {name}"
        made = f"The adapter was merged into its base model{lossy} in float32{rounded_to}."
        reference = "the adapter unmerged"
    if settings.get("load_in_8bit"):
        made += " It was trained on that model quantized, so what was measured may differ slightly."
    same = (trained.argmax(-1) == exported.argmax(-1)).sum().item()
    made += (
        f" Compared with {reference} on a text of {len(trained)} tokens, logits differ by at most "
        f"{difference(trained, exported):.2g} (the largest is {trained.abs().max():.3g}) and the likeliest token is the "
        f"same at {same} of {len(trained)}.{date}"
    )
    say(made)
    _write_card(working, folder, made)


def export_run(folder: Path, output_dir: Path | None = None, push: str | None = None) -> Path:
    """Makes a folder that loads without this repository: weights, tokenizer, generation settings and card.

    It is kept only if it is the trained model: on a sample text, in float32, merging must not change the logits, and the
    folder read back must have those of the weights that were to be saved. What then remains is the rounding to the dtype
    of the base model.

    Args:
        folder: The run's folder, or one of its checkpoints.
        output_dir: The folder to make; `export` in the run's folder if not given, or `export-checkpoint-N`.
        push: Where it is uploaded, as OWNER/NAME of a new private repository; nowhere if not given.

    Returns:
        The new folder.

    Raises:
        SystemExit: With code 2 and one line if the run cannot be exported, the folder is there already, the export is
            not the trained model, the memory or the disk is too small, or the upload failed.
    """
    run, _ = read_record(folder)
    target = _target(run, folder, output_dir)
    if push:
        check_push(push)
    _check_room(folder, target)

    working = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        working.mkdir(parents=True)
    except OSError as error:
        fail(f"output_dir {target} cannot be made ({error.strerror}); choose another --output_dir")
    try:
        with naming_disk_faults(target, then="give the same command again"):
            _make(folder, working)
            open_to_readers(working)
            working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    say(f"The model is in {target}")
    if push:
        upload(push, target)
    return target
