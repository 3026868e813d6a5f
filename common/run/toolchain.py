"""What DeepSpeed compiles on first use: avoided where it is not needed, checked where it is."""

import shutil

from common.errors import fail
from common.run.extensions import extensions_dir, stale_locks

import torch
from transformers import TrainingArguments


def check_toolchain(args: TrainingArguments) -> None:
    """Makes sure that no run waits for, or dies in, the compilation of a DeepSpeed operator.

    Without a GPU, DeepSpeed would compile a shared-memory communication operator on the first start with several
    processes; gloo does that job. Offloading the optimizer needs DeepSpeed's own Adam, which is compiled once.

    Args:
        args: The training arguments; without DeepSpeed nothing is done.

    Raises:
        SystemExit: With code 2 if offloading needs a compiler that is not there, or if an interrupted compilation left
            its lock behind, on which torch would wait for ever.
    """
    if args.deepspeed_plugin is None:
        return
    import deepspeed

    if args.use_cpu:
        # Read by deepspeed.comm.ccl/torch backends when the process group starts; False means "not available here".
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # With --deepspeed, transformers starts the process group without DeepSpeed, and ZeRO-3 would count one process.
        if torch.distributed.is_initialized():
            deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)

    if not args.deepspeed_plugin.hf_ds_config.is_offload():
        return
    built = list(extensions_dir().glob("cpu_adam/*.so"))
    # ninja looks at what is built, too, before torch loads it; the compiler is called only if there is nothing.
    missing = [tool for tool in (["ninja"] if built else ["c++", "ninja"]) if shutil.which(tool) is None]
    if missing:
        fail(
            f"offloading the optimizer needs {' and '.join(missing)} on the PATH, to compile DeepSpeed's CPU Adam; install a "
            "C++ compiler and ninja (Debian, Ubuntu: `apt install g++ ninja-build`) or use a configuration without offload"
        )
    for lock in stale_locks(extensions_dir(), "cpu_adam"):
        fail(f"an interrupted compilation left {lock}, on which every run would wait for ever; remove it: `rm {lock}`")
