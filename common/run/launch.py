"""What the launcher says and the settings say too: precision, DeepSpeed, the number of processes."""

import json
import os
import socket
from argparse import Namespace
from pathlib import Path
from typing import Any

from common.data.processes import local_world_size
from common.errors import fail, say

import torch

# What a DeepSpeed JSON may say by itself, and the setting that says it here: `auto` lets the setting decide.
SAID_TWICE = {
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "optimizer.params.lr": "learning_rate",
    "optimizer.params.eps": "adam_epsilon",
    "optimizer.params.weight_decay": "weight_decay",
    "bf16.enabled": "bf16",
    "fp16.enabled": "fp16",
}
OFFLOADS = ("offload_optimizer", "offload_param")


def choose_precision(values: Namespace, instructions: str | None = None) -> None:
    """Makes the launcher and the arguments agree on mixed precision, as DeepSpeed asks: the arguments win, if they say any.

    Without a GPU, on a processor that has no AVX-512, float32 takes the place of bfloat16 if nothing is said: torch takes two
    to five times as long there in bfloat16 (`make demo-smoke` on two cores of an AMD EPYC with AVX2: 108 s, in float32 53 s).

    Args:
        values: The settings by name; `bf16` and `fp16` are set.
        instructions: What the processor has, such as `AVX2`; None to ask torch.
    """
    instructions = instructions or torch.backends.cpu.get_cpu_capability()
    if values.bf16 is None and not values.fp16 and not torch.cuda.is_available() and not instructions.startswith("AVX512"):
        values.bf16 = False
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if launcher is None or (values.bf16 is None and not values.fp16 and launcher == "bf16"):
        return
    asked = "fp16" if values.fp16 else {True: "bf16", False: "no", None: launcher}[values.bf16]
    os.environ["ACCELERATE_MIXED_PRECISION"] = asked
    values.bf16, values.fp16 = asked == "bf16", asked == "fp16"


def choose_modules(values: Namespace) -> None:
    """Takes `use_liger_kernel` back where there is no GPU, and says so: its kernels run on none.

    Args:
        values: The settings by name.
    """
    if values.use_liger_kernel and not torch.cuda.is_available():
        values.use_liger_kernel = False
        say("use_liger_kernel needs an NVIDIA GPU: the model keeps its own modules, which compute the same")


def _read_deepspeed(given: dict[str, Any] | str, where: str) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    is_file = not given.startswith("{")
    if is_file and not os.path.isfile(given):
        fail(f"{where} {given}: there is no such file; pass one, for example accelerate_configs/ds_zero2.json")
    try:
        found = json.loads(Path(given).read_text(encoding="utf-8-sig") if is_file else given)
    except RecursionError:
        fail(f"{where} {given} is nested too deeply; see accelerate_configs/ds_zero2.json")
    except ValueError as error:
        fail(f"{where} {given} is not valid JSON ({error}); see accelerate_configs/ds_zero2.json")
    if not isinstance(found, dict):
        fail(f"{where} {given} must hold a JSON object; see accelerate_configs/ds_zero2.json")
    return found


def check_deepspeed(values: Namespace, world_size: int) -> None:
    """Checks that DeepSpeed is told each thing once.

    Args:
        values: The settings by name; `deepspeed` is a JSON, its file, or None.
        world_size: Number of processes.

    Raises:
        SystemExit: With code 2 for a JSON that cannot be read or that contradicts the settings, and for `--deepspeed` under a
            launcher that brings DeepSpeed's settings itself.
    """
    by_launcher = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("true", "1")
    if values.deepspeed and by_launcher:
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "?")
        fail(
            f"deepspeed {values.deepspeed}: the launcher brings DeepSpeed too (ZeRO-{stage}); leave --deepspeed away, or start "
            "with plain `python`, `torchrun` or `deepspeed`"
        )
    given, where = values.deepspeed, "deepspeed"
    if by_launcher and os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none") != "none":
        given, where = os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"], "deepspeed_config_file"
    if not given:
        return
    config = _read_deepspeed(given, where)
    name = f"{where} {given if isinstance(given, str) and not given.startswith('{') else '{...}'}"
    if "scheduler" in config:
        fail(f"{name}: `scheduler` would take the place of lr_scheduler_type and warmup_steps; remove it there")
    ours = vars(values) | {"bf16": not values.fp16 if values.bf16 is None else values.bf16}
    for key, setting in SAID_TWICE.items():
        found: Any = config
        for part in key.split("."):
            found = found.get(part, "auto") if isinstance(found, dict) else "auto"
        if found != "auto" and found != ours[setting]:
            fail(f'{name}: `{key}` is {json.dumps(found)} and {setting} is {ours[setting]}; write "auto" there')
    batch = values.per_device_train_batch_size * values.gradient_accumulation_steps * world_size
    if config.get("train_batch_size", "auto") not in ("auto", batch):
        found = config["train_batch_size"]
        fail(f'{name}: `train_batch_size` is {found} and the settings make {batch}; write "auto" there')
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict) or zero.get("stage") not in (0, 1, 2, 3):
        fail(
            f"{name} does not say what is sharded: write `zero_optimization` with a `stage` from 0 to 3, as in "
            "accelerate_configs/ds_zero2.json"
        )


def describe_zero(zero: dict[str, Any]) -> dict[str, Any]:
    """Returns the ZeRO stage and what is offloaded, as `common.plan.estimate.Job` takes it.

    Args:
        zero: `zero_optimization` of DeepSpeed's settings.
    """
    devices = {name: (zero.get(name) or {}).get("device", "none") for name in OFFLOADS}
    return {"zero_stage": zero["stage"]} | {name: device in ("cpu", "nvme") for name, device in devices.items()}


def zero_settings(values: Namespace) -> dict[str, Any] | None:
    """Returns what the launcher or `deepspeed` says of ZeRO, as `describe_zero` does; None without DeepSpeed.

    Asked before there are training arguments, which then have it in their plugin.

    Args:
        values: The settings by name, checked by `check_deepspeed`.
    """
    given = values.deepspeed
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("true", "1"):
        given = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
        if given == "none":  # accelerate's yaml says it itself
            stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
            said = {
                name: {"device": os.environ.get(f"ACCELERATE_DEEPSPEED_{name.upper()}_DEVICE", "none")} for name in OFFLOADS
            }
            return describe_zero({"stage": stage} | said)
    if not given:
        return None
    return describe_zero(_read_deepspeed(given, "deepspeed").get("zero_optimization", {}))


def start_alone() -> None:
    """With plain `python` makes this process the only one of a launch, as DeepSpeed wants to hear from a launcher."""
    if "RANK" in os.environ:
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}


def check_gpus(trains: bool) -> None:
    """Says how to use GPUs that stay idle.

    Args:
        trains: Whether the script trains.

    Raises:
        SystemExit: With code 2 where transformers would spread one process over them (DataParallel), which no trainer knows.
    """
    gpus = torch.cuda.device_count()
    if gpus > 1 and trains and "RANK" not in os.environ and "LOCAL_RANK" not in os.environ:
        fail(
            f"{gpus} GPUs are visible and there is no launcher: start with `accelerate launch --config_file ... "
            f"--num_processes {gpus}` or `torchrun --nproc_per_node {gpus}`, or set CUDA_VISIBLE_DEVICES=0 to use one"
        )
    if gpus > (local_world_size() or 1):
        used = os.environ.get("WORLD_SIZE", "1")
        say(f"{gpus} GPUs are visible and this run uses {used}: add `--num_processes {gpus}` to use them all.")
