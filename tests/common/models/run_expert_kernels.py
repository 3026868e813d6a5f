"""Compares the kernels of experts with torch: on a GPU, or with TRITON_INTERPRET=1 on a CPU, in a process of its own."""

from types import SimpleNamespace

from common.models.expert_kernels import gate, weighted_sum

import torch
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ALPHA, LIMIT = 1.702, 1.5  # gpt-oss's limit is 7, which few of these numbers reach
EXPERTS, COPIES = 3, 2


def compare(ours: torch.Tensor, expected: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    """Fails unless outputs are alike, and the gradients of each input."""
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    given = torch.randn_like(ours)
    found = [torch.autograd.grad(output, inputs, given) for output in (ours, expected)]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5, equal_nan=True)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, requires_grad=True)


def expected_gate(states: torch.Tensor, bias: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return GptOssExperts._apply_gate(SimpleNamespace(alpha=ALPHA, limit=LIMIT), states + bias[ids])


def main() -> None:
    torch.manual_seed(0)
    for tokens, size in ((5, 12), (1, 1030)):  # less than a block, and more
        rows = tokens * COPIES
        ids, order = torch.randint(0, EXPERTS, (rows,), device=DEVICE).sort(stable=True)
        back = order[torch.randperm(rows, device=DEVICE)].argsort()
        states, bias = numbers(rows, 2 * size), numbers(EXPERTS, 2 * size)
        compare(gate(states, bias, ids, ALPHA, LIMIT), expected_gate(states, bias, ids), [states, bias])
        diverged = states.detach().clone()
        diverged[0, :2], diverged[-1, -1] = torch.nan, torch.inf  # seen in what comes out, not clamped
        diverged.requires_grad_()
        compare(gate(diverged, bias, ids, ALPHA, LIMIT), expected_gate(diverged, bias, ids), [diverged, bias])
        states, bias, weights = numbers(rows, size), numbers(EXPERTS, size), numbers(tokens, COPIES)
        expected = ((states + bias[ids])[back].view(tokens, COPIES, size) * weights[..., None]).sum(1)
        compare(weighted_sum(states, bias, back, ids, weights), expected, [states, bias, weights])
    print(f"alike on {DEVICE}")


if __name__ == "__main__":
    main()
