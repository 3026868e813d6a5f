"""Shared helpers of the recipes. Import it before torch-based libraries: it prepares the process they start in.

Importing this package chooses DeepSpeed's CPU back end where there is no GPU and silences, one by one, the library messages
that a user can do nothing about. Everything else is in the modules of this folder, one job each.
"""

import logging
import os
import sys
import warnings

import torch

if not torch.cuda.is_available():
    # Read by DeepSpeed when it is first imported; without it every process warns that it found no accelerator.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # The cores are shared out over the processes of this machine; more threads than cores would make each other wait.
    threads = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)

if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars are for a terminal; in a file each step of one is a line

# torch 2.13 renamed two collectives that DeepSpeed 0.19 still calls by their old names.
warnings.filterwarnings(
    "ignore",
    message=r"`torch\.distributed\.(all_gather_into_tensor|reduce_scatter_tensor)` is deprecated",
    category=FutureWarning,
)
# transformers 5.23 warns about a property that its own Trainer reads.
warnings.filterwarnings("ignore", message=r"`is_gradient_checkpointing` is deprecated", category=FutureWarning)
# bitsandbytes looks for optional CPU kernels at import, whether 4-bit weights are used or not.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
