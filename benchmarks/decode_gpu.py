"""The rollout engine alone on a GPU: tokens a second, and which kernels a decoding step spends its time in.

    python benchmarks/decode_gpu.py --slots 64 256
    python benchmarks/decode_gpu.py --slots 64 --lora

The model has the shape of Qwen2.5-1.5B and random weights; prompts of 60 to 180 tokens, each for 8 completions of 256 tokens.
"""

import argparse
import random
import time

from common.generate.decode import Decoder
from common.generate.rollout import plain_logprobs
from common.models.liger import use_liger_modules

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, Qwen2Config

from grpo_gpu import SHAPE

NEW_TOKENS, GENERATIONS, CALLS, KERNELS = 256, 8, 4, 16


def random_model(small: bool) -> PreTrainedModel:
    """Returns a model of Qwen2.5-1.5B's shape, or a small one to rehearse without a GPU."""
    smaller = {"vocab_size": 4096, "hidden_size": 96, "intermediate_size": 64, "num_hidden_layers": 2}
    config = Qwen2Config(**SHAPE | (smaller if small else {}))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    use_liger_modules(model, argparse.Namespace(use_liger_kernel=torch.cuda.is_available(), liger_kernel_config=None))
    return model


def synchronise() -> float:
    """Waits for the GPU, if there is one, and returns the time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def print_kernels(decoder: Decoder, slots: int, steps: int = 5) -> None:
    """Prints what a replayed decoding step of so many slots spends its time in."""
    graph = decoder.engine.graphs[slots]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profiled:
        for _ in range(steps):
            graph.replay()
        torch.cuda.synchronize()
    rows = sorted(profiled.key_averages(), key=lambda row: -row.self_device_time_total)
    print(f"  {sum(row.self_device_time_total for row in rows) / steps / 1000:.2f} ms of kernels a step:")
    for row in rows[:KERNELS]:
        print(f"  {row.self_device_time_total / steps:8.0f} us {row.count / steps:5.0f} x  {row.key[:80]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, nargs="+", default=[64, 256], help="completions generated at once")
    parser.add_argument("--lora", action="store_true", help="with an adapter of rank 16 in every linear layer")
    parser.add_argument("--small", action="store_true", help="a model of two small layers, to rehearse without a GPU")
    args = parser.parse_args()
    model = random_model(args.small)
    if args.lora:
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).eval()
    numbers = random.Random(0)
    end = model.config.vocab_size  # no token: every completion is as long as the limit
    config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, eos_token_id=end, pad_token_id=0)
    for slots in args.slots:
        groups = [[numbers.randrange(end) for _ in range(numbers.randint(60, 180))] for _ in range(slots // GENERATIONS)]
        prompts = [group for group in groups for _ in range(GENERATIONS)]
        decoder = Decoder(config)
        for call in range(CALLS):
            begun = synchronise()
            done = decoder(model, prompts, NEW_TOKENS, seed=call << 32)
            seconds = synchronise() - begun
            tokens = sum(len(one.tokens) for one in done)
            print(f"{slots} slots, call {call}: {tokens / seconds:,.0f} tokens/s ({seconds:.3f} s)", flush=True)
        with torch.no_grad():
            again = plain_logprobs(model, [(prompts[0], done[0].tokens)], 1.0)[0]
        differences = [abs(one - other) for one, other in zip(done[0].logprobs, again, strict=True)]
        print(f"  log-probabilities differ from a plain pass by {sum(differences) / len(differences):.4f} on average")
        if torch.cuda.is_available():
            print_kernels(decoder, slots)


if __name__ == "__main__":
    main()
