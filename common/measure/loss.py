"""The loss of held-out rows."""

from common.measure.shares import share_out

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


def mean_loss(
    model: torch.nn.Module,
    accelerator: Accelerator,
    dataset: Dataset,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Returns the mean loss of the trained tokens of a data set; the rows are shared out over the processes.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Knows the processes.
        dataset: Rows of `common.data.tokens.tokenize`.
        batch_size: Rows computed at once on a device.

    Returns:
        `value`, in nats a token.
    """
    rows = share_out(len(dataset), accelerator.process_index, accelerator.num_processes)
    collate = DataCollatorForLanguageModeling(pad_token_id=0)  # padding is masked: its token does not matter
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        batch = send_to_device(collate([dataset[index] for index, _ in chunk]), accelerator.device)
        labels = batch.pop("labels")[:, 1:]
        labels[[not counted for _, counted in chunk]] = -100
        with torch.no_grad(), accelerator.autocast():
            logits = model(**batch).logits[:, :-1]
        trained = labels != -100  # only these as float32: a vocabulary of numbers for each token is what takes the memory
        total[0] += torch.nn.functional.cross_entropy(logits[trained].float(), labels[trained], reduction="sum")
        total[1] += trained.sum()
    model.train(was_training)
    loss, tokens = accelerator.reduce(total, "sum").tolist()
    return {"value": loss / tokens}
