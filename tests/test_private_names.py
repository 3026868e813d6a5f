"""What the code takes from inside the libraries is still there: the first to know of a new version is this file.

Most of what is used is public. What is not, and has no public counterpart, stands in one place of the code, beside its reason,
and here; a private name that is not listed here fails the last test.
"""

import ast
import importlib
import importlib.util
import inspect
from functools import reduce
from importlib.resources import files
from pathlib import Path

from common.models.families import CHAT_TEMPLATES

import pytest
from conftest import ROOT
from transformers import AttentionMaskInterface

LIBRARIES = (
    "accelerate bitsandbytes datasets deepspeed huggingface_hub peft safetensors tokenizers torch transformers trl".split()
)

# Private names, and the file that uses each.
PRIVATE = [
    ("transformers.integrations.deepspeed", "_hf_deepspeed_config_weak_ref", "common/models/zero3.py"),
    ("deepspeed.ops", "__compatible_ops__", "common/run/toolchain.py"),
    ("accelerate.state", "AcceleratorState._reset_state", "recipes/multi_agent_grpo/members.py"),
    ("torch", "_dynamo", "common/models/attention.py"),  # its limit of recompilations, which torch's warning names
    ("torch", "_dynamo", "tests/common/models/test_attention.py"),
    ("transformers.models.gpt_oss.modeling_gpt_oss", "GptOssExperts._apply_gate", "common/models/experts.py"),
    ("transformers.models.gpt_oss.modeling_gpt_oss", "GptOssExperts._apply_gate", "tests/common/models/run_expert_kernels.py"),
    ("torch", "ops.aten._flash_attention_forward", "common/models/sinks.py"),  # what torch's own varlen attention calls
    ("torch", "ops.aten._flash_attention_backward", "common/models/sinks.py"),
    ("torch.utils", "_python_dispatch", "common/plan/ledger.py"),  # as torch's own trackers of memory
    ("torch.utils", "_pytree", "common/plan/ledger.py"),
    ("accelerate.state", "AcceleratorState._reset_state", "tests/forks.py"),
    ("transformers.trainer_optimizer", "_BITSANDBYTES_OPTIMIZERS", "tests/common/run/test_values.py"),
]
# Names that exist only on an object of a running program: the module whose source reads or sets each.
AT_RUN_TIME = [
    ("transformers.core_model_loading", "_weight_conversions", "common/models/zero3.py"),
    ("deepspeed.runtime.zero.partition_parameters", "param.ds_numel = ", "common/models/zero3.py"),
    ("bitsandbytes.nn.modules", "self.support_avx512bf16_for_cpu", "common/models/load.py"),
    ("trl.trainer.utils", '"_name_or_path"', "common/models/load.py"),  # where the reference model's name is read
    ("trl.trainer.grpo_trainer", "create_model_from_path(get_config_model_id(", "common/models/load.py"),
    ("peft.mapping_func", '"name_or_path"', "common/models/load.py"),  # what is written down as an adapter's base
    ("accelerate.hooks", '"_hf_hook"', "common/models/in_files.py"),
    ("accelerate.hooks", "self.weights_map", "common/models/in_files.py"),
    ("accelerate.utils.offload", "self.dataset", "common/models/in_files.py"),
    (
        "accelerate.utils.offload",
        'self.index[key]\n        if weight_info.get("safetensors_file"',
        "common/models/in_files.py",
    ),
    ("transformers.modeling_utils", '"hf_device_map"', "common/models/in_files.py"),  # models that are saved otherwise
    ("transformers.training_args", "self.deepspeed_plugin", "common/run/toolchain.py"),
    ("transformers.trainer", "self.callback_handler = ", "common/run/loop.py"),
    ("torch.storage", "_cdata", "common/plan/ledger.py"),
    ("transformers.configuration_utils", "_attn_implementation", "common/generate/engine.py"),
    ("transformers.configuration_utils", "_attn_implementation", "common/generate/logprobs.py"),
    ("transformers.configuration_utils", "_attn_implementation", "tests/common/models/test_sinks.py"),
    ("trl.trainer.grpo_trainer", "_metrics", "common/generate/rollout.py"),
    ("trl.trainer.grpo_trainer", "_logs", "common/run/rollouts.py"),
    ("trl.trainer.grpo_trainer", "return prompt_ids, completion_ids, tool_mask", "common/run/meter.py"),
    ("trl.trainer.grpo_trainer", "_generate", "common/run/meter.py"),
    ("trl.trainer.grpo_trainer", "_generate", "benchmarks/profile_step.py"),
    ("trl.trainer.grpo_trainer", "_get_per_token_logps_and_entropies", "common/generate/logprobs.py"),
    ("trl.trainer.grpo_trainer", "_get_per_token_logps_and_entropies", "tests/common/generate/test_logprobs.py"),
    ("trl.trainer.grpo_trainer", "_tokenize_prompts", "tests/common/generate/test_rollout.py"),
]
# Public, but in no documentation.
UNDOCUMENTED = [
    ("accelerate", "Accelerator.sync_gradients"),  # set by recipes/sft_instruct/train_accelerate.py
    ("accelerate.utils.deepspeed", "HfDeepSpeedConfig.is_offload"),
    ("datasets", "config.HF_HUB_OFFLINE"),
    ("datasets", "config.HF_DATASETS_CACHE"),
    ("huggingface_hub", "constants.HF_HUB_OFFLINE"),
    ("huggingface_hub", "constants.ENDPOINT"),
    ("huggingface_hub", "utils.httpx.TransportError"),
    ("deepspeed.ops", "__compatible_ops__"),
]
# Libraries whose messages common/__init__.py filters by the logger's name.
LOGGERS = [
    "liger_kernel.backends.registry",
    "accelerate.accelerator",
    "accelerate.big_modeling",  # in common/models/in_files.py
    "datasets.packaged_modules",
    "torch.utils.cpp_extension",
    "transformers.integrations.bitsandbytes",
]


def sources() -> dict[Path, ast.Module]:
    """Returns the parsed files of the project."""
    folders = ("common", "recipes", "tests", "benchmarks")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in paths}


def library_imports() -> set[tuple[str, str]]:
    """Returns every name that a file imports from a library, also those that it imports inside a function."""
    nodes = [node for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    nodes = [node for node in nodes if node.module and node.module.partition(".")[0] in LIBRARIES]
    return {(node.module, name.name) for node in nodes for name in node.names}


@pytest.mark.parametrize(("module", "name"), sorted(library_imports()))
def test_what_is_imported_is_there(module: str, name: str):
    assert hasattr(importlib.import_module(module), name) or importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize(("module", "name"), [row[:2] for row in PRIVATE] + UNDOCUMENTED)
def test_an_undocumented_name_is_there(module: str, name: str):
    reduce(getattr, name.split("."), importlib.import_module(module))


@pytest.mark.parametrize(("module", "text", "user"), AT_RUN_TIME)
def test_a_name_of_the_running_program_is_there(module: str, text: str, user: str):
    assert text in inspect.getsource(importlib.import_module(module))


@pytest.mark.parametrize("name", LOGGERS)
def test_a_filtered_logger_is_there(name: str):
    assert importlib.util.find_spec(name)


def test_the_operator_that_is_switched_off_is_there():
    assert "deepspeed_shm_comm" in importlib.import_module("deepspeed.ops").__compatible_ops__


def test_chat_templates_of_trl_are_there():
    for name in [*CHAT_TEMPLATES.values(), "qwen2_5_vl"]:
        assert (files("trl") / "chat_templates" / f"{name}.jinja").is_file()


def test_masks_say_when_they_are_more_than_causal():
    """common.models.attention tells a packed row by it."""
    known = inspect.signature(AttentionMaskInterface()["sdpa"]).parameters
    assert {"allow_is_causal_skip", "use_vmap", "attention_mask", "q_length", "kv_length"} <= set(known)


def test_no_other_private_name_is_used():
    listed = {(name.rpartition(".")[2], user) for _, name, user in PRIVATE + AT_RUN_TIME}
    # Python's own, of which tests/test_errors.py and tests/reliability run every use.
    python = {"__name__", "__doc__", "__file__", "__cause__", "__context__", "__mro__", "__dataclass_fields__", "_exit"}
    python |= {"_current_frames", "_forkserver", "_on_queue_feeder_error", "_stop", "_run_exitfuncs", "_clear"}
    found = set()
    for path, tree in sources().items():
        if path.name == Path(__file__).name:
            continue
        nodes = list(ast.walk(tree))
        own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        taken = [
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        ]
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
                taken += [*node.module.split("."), *(name.name for name in node.names)]
        found |= {(name, str(path)) for name in taken if name.startswith("_") and name not in own | python}
    assert found - listed == set()
    assert {(name, user) for name, user in listed if name.startswith("_")} == found  # and what is no longer used is not listed
