"""Supervised fine-tuning on questions and answers as a bare loop over Accelerate: every step that the Trainers take is here.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/sft_instruct/train_accelerate.py
    python recipes/sft_instruct/train_accelerate.py --deepspeed accelerate_configs/ds_zero2.json

You will see: the same loss curve as with train.py and train_trainer.py, and how many held-out questions are answered right.

Simplified: no adapters, no early stopping, no checkpoints (an interrupted run begins again) and no report.
"""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.formats import Conversation
from common.data.runs import COMPLETE
from common.errors import fail, say
from common.run.config import parse
from common.run.disk import naming_disk_faults
from common.run.files import open_to_readers
from common.run.output_dir import check_output_dir
from common.run.record import write_record

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig, SFTConfig

from arguments import InstructArguments

if TYPE_CHECKING:
    from datasets import Dataset

# What this loop reads; every other setting is refused. Precision, processes and DeepSpeed are accelerate's to read.
READS = """
model_name_or_path model_revision dtype attn_implementation use_peft
dataset_name dataset_config validation_dataset_name test_dataset_name columns group_by num_train num_held_out skip_bad_rows
drop_duplicates system_prompt max_length packing max_new_tokens
output_dir seed data_seed num_train_epochs max_steps per_device_train_batch_size per_device_eval_batch_size
gradient_accumulation_steps learning_rate lr_scheduler_type warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon
tokens_per_update max_grad_norm activation_checkpointing gradient_checkpointing bf16 fp16 tf32 use_cpu deepspeed local_rank
ddp_backend ddp_timeout
"""


def prepare_data(
    args: InstructArguments, training_args: SFTConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, "Dataset", dict[str, list[Conversation]]]:
    """Returns the tokenizer, the tokens to train on, and the held-out conversations by the name of the set."""
    from common.data.splits import check_parts
    from common.data.tokens import tokenize, use_training_template
    from common.models.config import check_model
    from common.models.load import load_tokenizer

    from trl import pack_dataset

    from data import load_data, texts
    from evaluate import check_held_out

    check_model(model_args, packing=training_args.packing)
    train, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train)
    tokenizer = load_tokenizer(model_args, texts(train))
    use_training_template(tokenizer)
    settings = {"max_length": training_args.max_length, "skip_bad_rows": args.skip_bad_rows}
    train_dataset = tokenize(train, tokenizer, where=args.dataset_name, **settings)
    held_out = check_held_out(held_out, tokenizer, args, training_args)
    if training_args.packing:
        train_dataset = pack_dataset(train_dataset, training_args.max_length)
    return tokenizer, train_dataset, held_out


def make_accelerator(training_args: SFTConfig) -> Accelerator:
    """Returns what spreads the training over the processes.

    Its plugin is made of the launcher's yaml or of `--deepspeed FILE`; by hand: DeepSpeedPlugin(zero_stage=2).
    """
    plugin = training_args.deepspeed_plugin
    if plugin is not None:  # what a Trainer writes into DeepSpeed's settings
        plugin.deepspeed_config["gradient_accumulation_steps"] = training_args.gradient_accumulation_steps
        plugin.deepspeed_config["gradient_clipping"] = training_args.max_grad_norm
    return Accelerator(
        mixed_precision=training_args.mixed_precision,
        gradient_accumulation_steps=training_args.gradient_accumulation_steps,
        deepspeed_plugin=plugin,
        # The order of the rows depends on the seed alone, whatever else has drawn random numbers before.
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=training_args.data_seed),
    )


def make_optimizer(model: PreTrainedModel, training_args: SFTConfig) -> torch.optim.Optimizer:
    """Returns AdamW, which decays all weights but those of norms and biases."""
    kept = [weight for name, weight in model.named_parameters() if "norm" in name or name.endswith("bias")]
    decayed = [weight for name, weight in model.named_parameters() if "norm" not in name and not name.endswith("bias")]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": training_args.weight_decay}, {"params": kept, "weight_decay": 0.0}],
        lr=training_args.learning_rate,
        betas=(training_args.adam_beta1, training_args.adam_beta2),
        eps=training_args.adam_epsilon,
    )


def num_updates(training_args: SFTConfig, num_batches: int) -> int:
    """Returns the updates of a training whose epoch has so many batches on each process."""
    if training_args.max_steps > 0:
        return training_args.max_steps
    return math.ceil(training_args.num_train_epochs * math.ceil(num_batches / training_args.gradient_accumulation_steps))


def updates(loader: Iterable[dict[str, torch.Tensor]], accumulation: int) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Yields the batches of one update after the other, epoch after epoch; the last update of an epoch may have fewer."""
    while True:
        batches = iter(loader)
        while update := list(islice(batches, accumulation)):
            yield update


def train(
    model: torch.nn.Module,
    accelerator: Accelerator,
    loader: Iterable[dict[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    training_args: SFTConfig,
    max_steps: int,
) -> list[float]:
    """Trains a model, and returns the loss of each update; all but the scheduler as the accelerator prepared them."""
    accumulation = training_args.gradient_accumulation_steps
    model.train()
    losses = []
    for step, batches in zip(range(1, max_steps + 1), updates(loader, accumulation), strict=False):
        # Counted before the first batch is computed: the loss of an update is the mean over all its trained tokens.
        num_tokens = accelerator.reduce(sum((batch["labels"][:, 1:] != -100).sum() for batch in batches))
        mean_loss = 0.0
        for batch in batches:
            accelerator.sync_gradients = batch is batches[-1]
            loss = model(**batch, num_items_in_batch=num_tokens, use_cache=False).loss * accelerator.num_processes
            mean_loss += accelerator.reduce(loss.detach(), "mean").item()
            # backward() divides by the accumulation steps, and the mean is taken over the processes: both are undone here.
            # With DeepSpeed it also clips, updates and sets the gradients to zero; the three lines after it do nothing.
            accelerator.backward(loss * accumulation)
        accelerator.clip_grad_norm_(model.parameters(), training_args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        losses.append(mean_loss)
        if step % 10 == 0:
            say(f"step {step:>4}/{max_steps}  loss {mean_loss:.3f}")
    return losses


def save(
    model: torch.nn.Module, accelerator: Accelerator, tokenizer: PreTrainedTokenizerBase, losses: list[float], folder: Path
) -> None:
    """Saves the model, its tokenizer and the losses."""
    # Under ZeRO-3 the weights are gathered from all processes; the main process writes them.
    weights = accelerator.get_state_dict(model)
    with naming_disk_faults(folder, then="the same command begins anew"):
        accelerator.unwrap_model(model).save_pretrained(folder, state_dict=weights, is_main_process=accelerator.is_main_process)
        if accelerator.is_main_process:
            tokenizer.save_pretrained(folder)
            open_to_readers(folder)
            log = [json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses, start=1)]
            (folder / "metrics.jsonl").write_text("".join(log), encoding="utf-8")
            (folder / COMPLETE).touch()  # the same command does not train it again
    say(f"The model is in {folder}")


def main() -> None:
    args, training_args, model_args = parse(__file__, InstructArguments, SFTConfig, reads=READS.split())
    if model_args.use_peft:
        fail("use_peft: this script trains all weights; train adapters with train.py, or add `--use_peft false`")
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.models.load import load_model
    from common.report.numbers import print_results

    from torch.utils.data import DataLoader
    from transformers import get_scheduler, set_seed
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from evaluate import evaluate

    # 1. Data: conversations as tokens. Only what the assistant writes has labels, so only that is learned.
    tokenizer, train_dataset, held_out = prepare_data(args, training_args, model_args)
    # Rows become a batch: padded to the longest, or, packed, put one after the other with positions that begin anew.
    collate = DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=training_args.packing)

    # 2. Model: any causal language model. Under ZeRO-3 each process loads only its part.
    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, tokenizer)
    if training_args.activation_checkpointing:
        model.activation_checkpointing_enable()

    # 3. The loop's parts: what a Trainer makes by itself.
    accelerator = make_accelerator(training_args)
    set_seed(training_args.seed)
    loader = DataLoader(train_dataset, training_args.per_device_train_batch_size, shuffle=True, collate_fn=collate)
    model, optimizer, loader = accelerator.prepare(model, make_optimizer(model, training_args), loader)
    max_steps = num_updates(training_args, len(loader))
    # Not prepared: accelerate would step it once for each process.
    scheduler = get_scheduler(training_args.lr_scheduler_type, optimizer, training_args.get_warmup_steps(max_steps), max_steps)

    # 4. Measure, train, measure again, save.
    write_record(__file__, training_args)
    accelerator.wait_for_everyone()
    print_results("before", evaluate(model, accelerator, tokenizer, held_out, args, training_args))
    losses = train(model, accelerator, loader, optimizer, scheduler, training_args, max_steps)
    print_results("after", evaluate(model, accelerator, tokenizer, held_out, args, training_args))
    save(model, accelerator, tokenizer, losses, Path(training_args.output_dir))
    accelerator.end_training()


if __name__ == "__main__":
    main()
