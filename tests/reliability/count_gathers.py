"""Run before a training: counts for each step what ZeRO-3 gathers, and for how many modules it looks whether it has to."""

import atexit
import json
import os
from collections import Counter
from pathlib import Path

from deepspeed import DeepSpeedEngine
from deepspeed.runtime.zero.parameter_offload import DeepSpeedZeRoOffload
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator

counts: Counter[str] = Counter()
steps: list[dict[str, int]] = []
GATHER = "_PartitionedParameterCoordinator__all_gather_params"
gather, forward = getattr(PartitionedParameterCoordinator, GATHER), DeepSpeedZeRoOffload.pre_sub_module_forward_function
step = DeepSpeedEngine.step


def counted_gather(self, params, forward: bool) -> None:
    params = list(params)
    missing = [param for param in params if param.ds_status == ZeroParamStatus.NOT_AVAILABLE]
    counts["gathers"] += bool(missing)
    for param in missing:
        counts["adapters" if param.requires_grad else "frozen"] += 1
    gather(self, params, forward)


def counted_forward(self, sub_module) -> None:
    counts["modules"] += 1
    forward(self, sub_module)


def counted_step(self, *args, **kwargs) -> None:
    steps.append(dict(counts))
    counts.clear()
    step(self, *args, **kwargs)


setattr(PartitionedParameterCoordinator, GATHER, counted_gather)
DeepSpeedZeRoOffload.pre_sub_module_forward_function = counted_forward
DeepSpeedEngine.step = counted_step
if os.environ["RANK"] == "0":
    atexit.register(lambda: Path(os.environ["COUNTS"]).write_text(json.dumps(steps)))
