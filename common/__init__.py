"""Shared helpers of the recipes. Import it before torch-based libraries: it prepares the process they start in.

Importing this package chooses DeepSpeed's CPU back end where there is no GPU and silences, one by one, the library messages
that a user can do nothing about. It imports no torch, so that commands without a model answer at once. Everything else is in
the modules of this folder, one job each.
"""

import io
import logging
import os
import re
import sys
import warnings
from pathlib import Path

from common.errors import fail

if sys.platform == "win32":
    fail("the recipes need Linux: they lock files and handle signals as Unix does; on Windows run them inside WSL")

if not sys.stderr.isatty():
    # Progress bars are for a terminal; in a file each step of one is a line. Read when tqdm is imported, which torch does.
    os.environ.setdefault("TQDM_DISABLE", "1")
# On a terminal common.progress has a bar of its own, which those of datasets would cross. Read when datasets is imported.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

for stream in (sys.stdout, sys.stderr):
    # A terminal that knows no UTF-8, or a text that is not valid, must not end a run: what cannot be shown is its number.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")

# The devices of Nvidia's driver, of AMD's, and of Windows' under WSL: torch itself takes seconds to be asked.
_HAS_DEVICE = any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))

if not _HAS_DEVICE or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
    # Read by DeepSpeed when it is first imported; without it every process warns that it found no accelerator.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # The matrices of a tiny model are too small to share: two threads mostly wait for each other. Set the variable to compare.
    # torch reads it when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    # torch.utils.cpp_extension, in which DeepSpeed's operators are compiled, warns at import of a CUDA toolkit without a GPU.
    logging.getLogger("torch.utils.cpp_extension").addFilter(lambda record: "No CUDA runtime" not in record.msg)

# torch 2.13 renamed two collectives that DeepSpeed 0.19 still calls by their old names.
warnings.filterwarnings(
    "ignore",
    message=r"`torch\.distributed\.(all_gather_into_tensor|reduce_scatter_tensor)` is deprecated",
    category=FutureWarning,
)
# transformers 5 renamed gradient to activation checkpointing; TRL 1.16 and transformers' own Trainer use the old names.
warnings.filterwarnings("ignore", message=r"`(is_)?gradient_checkpointing\w*` is deprecated", category=FutureWarning)
# accelerate's barrier does not name the device; each process has only one.
warnings.filterwarnings("ignore", message=r"barrier\(\): using the device under current context", category=UserWarning)
# transformers accumulates gradients itself and leaves accelerate's plugin at 1; DeepSpeed is given the right number.
logging.getLogger("accelerate.accelerator").addFilter(lambda record: "accumulation steps mismatch" not in record.getMessage())
# datasets prints why it cannot read a file, and then raises the same as an error.
logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)
# transformers warns that weights put back from 4 bits have the dtype that they had.
logging.getLogger("transformers.integrations.bitsandbytes").addFilter(lambda record: "casted to" not in record.getMessage())
# transformers prints a table of weights that do not fit; common.models.mxfp4 refuses them in one line.
logging.getLogger("transformers.modeling_utils").addFilter(
    lambda record: not ("LOAD REPORT" in record.getMessage() and re.search("MISSING|MISMATCH", record.getMessage()))
)
# bitsandbytes looks for optional CPU kernels at import, whether 4-bit weights are used or not.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# Liger Kernel names what it could not import for other kinds of chips.
logging.getLogger("liger_kernel.backends.registry").addFilter(lambda record: "could not be imported" not in record.msg)
