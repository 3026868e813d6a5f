"""How evenly a mixture of experts shares out its work."""

from typing import Any

from common.measure.shares import share_out

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


def expert_shares(model: torch.nn.Module, accelerator: Accelerator, dataset: Dataset, *, batch_size: int) -> list[list[float]]:
    """Returns which share of a layer's work each expert does, on the tokens of a data set.

    A router that sends everything to a few experts wastes the others; gpt-oss is trained with an auxiliary loss against it
    (Fedus et al. 2021, arXiv:2101.03961), here `router_aux_loss_coef`.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Knows the processes.
        dataset: Rows of `common.data.tokens.tokenize`; they are shared out over the processes.
        batch_size: Rows computed at once on a device.

    Returns:
        For each layer the shares of its experts, which add up to 1.
    """
    config = accelerator.unwrap_model(model).config
    rows = share_out(len(dataset), accelerator.process_index, accelerator.num_processes)
    collate = DataCollatorForLanguageModeling(pad_token_id=0)
    counts = torch.zeros(config.num_hidden_layers, config.num_local_experts, device=accelerator.device)
    was_training = model.training
    model.eval()
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        batch = send_to_device(collate([dataset[index] for index, _ in chunk]), accelerator.device)
        batch.pop("labels")
        is_counted = batch["attention_mask"] * torch.tensor([[counted] for _, counted in chunk], device=accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            output = model(**batch, output_router_logits=True, logits_to_keep=1, use_cache=False)
        for layer, logits in enumerate(output.router_logits):
            chosen = logits.topk(config.num_experts_per_tok).indices[is_counted.flatten().bool()]
            counts[layer] += torch.bincount(chosen.flatten(), minlength=config.num_local_experts)
    model.train(was_training)
    counts = accelerator.reduce(counts, "sum")
    return (counts / counts.sum(dim=1, keepdim=True)).tolist()


def describe_shares(shares: list[list[float]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the shares of the busiest and of the idlest expert as metrics, and all of them as a matrix for the report."""
    every = [share for layer in shares for share in layer]
    metrics = {"busiest_expert_share": {"value": max(every)}, "idlest_expert_share": {"value": min(every)}}
    matrix = {
        "title": "Work of the experts",
        "rows": [str(layer) for layer in range(len(shares))],
        "columns": [str(expert) for expert in range(len(shares[0]))],
        "row_title": "layer",
        "column_title": "expert",
        "values": shares,
    }
    return metrics, matrix
