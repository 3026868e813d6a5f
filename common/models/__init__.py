"""Models and tokenizers: found, built, loaded, put on their devices."""

import torch
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers.utils import logging

# On Hopper and Blackwell torch's sdpa prefers cuDNN, which plans anew for every length that it has not seen. Where every batch
# has another length that took two fifths of a run on an H200 (ocr_vision_language with full.yaml, seen with py-spy) and half a
# second each time, forward and backward, on a B200 (https://github.com/modelscope/FunASR/issues/3704).
torch.backends.cuda.enable_cudnn_sdp(False)

# The bars of transformers, such as that of loading weights, would cross the one of common.progress; the hub's stay, as a
# download may take long, though transformers turns them off with its own.
has_bars = not are_progress_bars_disabled()
logging.disable_progress_bar()
if has_bars:
    enable_progress_bars()
