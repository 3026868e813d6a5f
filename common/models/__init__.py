"""Models and tokenizers: found, built, loaded, put on their devices."""

import torch

# On Hopper and Blackwell torch's sdpa prefers cuDNN, which plans anew for every length that it has not seen. Where every batch
# has another length that took two fifths of a run on an H200 (ocr_vision_language with full.yaml, seen with py-spy) and half a
# second each time, forward and backward, on a B200 (https://github.com/modelscope/FunASR/issues/3704).
torch.backends.cuda.enable_cudnn_sdp(False)
