"""The table of model families in docs/models.md: tiny random models of the real classes, through everything that a user does.

    python tests/reliability/families.py     # minutes: two runs of each family under ZeRO-3 and one with adapters

The chat templates are those that TRL ships; Mistral and SmolLM have short ones here, in their form.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # before it: `common` is also the name of a folder of tests

from common.data.tokens import IGNORED, tokenize
from common.models.adapters import check_lora_targets
from common.models.families import PACKING_MODELS
from common.models.load import load_model

import torch
from campaign import write_configs
from forks import READING, Server, serving
from pages import write_part
from peft import get_peft_model
from templates import PAGE, SHIPPED, load, save_tokenizer, verdicts
from test_saved import Place, check
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
    set_seed,
)
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config

PROGRAM = "tests/reliability/families.py"
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "initializer_range": 0.1,  # or all answers are nearly alike
}
WINDOW = {"sliding_window": 8}  # tokens: shorter than a conversation

MISTRAL = """
{{- bos_token }}
{%- if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{%- for message in messages %}
    {%- if message.role == "system" %}[SYSTEM_PROMPT] {{ message.content }}[/SYSTEM_PROMPT]
    {%- elif message.role == "user" %}[INST] {{ message.content }}[/INST]
    {%- elif message.role == "tool" %}[TOOL_RESULTS] {{ {"content": message.content} | tojson }}[/TOOL_RESULTS]
    {%- elif message.tool_calls %}[TOOL_CALLS] {{ message.tool_calls | map(attribute="function") | list | tojson }}
        {{- eos_token }}
    {%- else %} {{ message.content }}{{ eos_token }}
    {%- endif %}
{%- endfor %}"""

SMOLLM = """
{%- if tools %}<|im_start|>system
Tools: <tools>{{ tools | tojson }}</tools><|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ "user" if message.role == "tool" else message.role }}
{% if message.role == "tool" %}<tool_response>{{ message.content }}</tool_response>{% else %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: As people call it.
        config: The class of its configuration, which names that of the model.
        template: Its chat template.
        source: Where that is from.
        sizes: What of its configuration differs from the others.
    """

    name: str
    config: type[PreTrainedConfig]
    template: str
    source: str
    sizes: dict[str, Any] = field(default_factory=dict)


def shipped(name: str) -> dict[str, str]:
    return {"template": SHIPPED[name], "source": f"TRL's {name}"}


EXPERTS = {"moe_intermediate_size": 48, "num_experts": 4, "num_experts_per_tok": 2}
MIXED = {"layer_types": ["sliding_attention", "full_attention"] * 2}
FAMILIES = [
    Family("Llama 3.x", LlamaConfig, **shipped("llama3_2")),
    Family("Qwen 3", Qwen3Config, **shipped("qwen3")),
    Family("Qwen 3, experts", Qwen3MoeConfig, **shipped("qwen3"), sizes=EXPERTS),
    Family("Gemma 3", Gemma3TextConfig, **shipped("gemma3"), sizes=WINDOW | MIXED),
    Family("Mistral", MistralConfig, MISTRAL, "in Mistral's form", WINDOW),
    Family("Phi", Phi3Config, **shipped("phi3_5"), sizes=WINDOW),
    Family("SmolLM", SmolLM3Config, SMOLLM, "in SmolLM's form", {"no_rope_layers": [1, 1, 1, 0]}),
]


def build(family: Family, folder: Path) -> None:
    """Saves a model of a family with random weights, with its tokenizer and chat template."""
    tokenizer = save_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(family.template, encoding="utf-8")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    set_seed(0)
    config = family.config(vocab_size=len(tokenizer), **SIZES | family.sizes, **ids)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


# --- In this process ------------------------------------------------------------------------------------------------------


def losses(family: Family, folder: Path, packing: bool) -> tuple[float, int]:
    """Returns the mean loss of the trained tokens of conversations, as the trainer feeds them, and how many rows there are."""
    tokenizer = load(folder, family.template)
    words = "one two three four five six seven eight".split()
    rows = [
        {
            "messages": [
                {"role": "user", "content": " ".join(words[: 1 + number % 8]) + f" {number}?"},
                {"role": "assistant", "content": words[-1 - number % 8]},
            ]
        }
        for number in range(24)
    ]
    model = load_model(ModelConfig(model_name_or_path=str(folder), dtype="float32", attn_implementation="sdpa"), tokenizer)
    args = SFTConfig(
        output_dir=str(folder / "none"),
        packing=packing,
        max_length=128,
        per_device_train_batch_size=4,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
    )
    dataset = tokenize(rows, tokenizer, 128, where="rows")
    trainer = SFTTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)
    total, count, rows = 0.0, 0, 0
    model.eval()
    for batch in trainer.get_train_dataloader():
        labels = batch.pop("labels")
        with torch.no_grad():
            logits = model(**batch, use_cache=False).logits
        trained = labels[:, 1:] != IGNORED
        lost = torch.nn.functional.cross_entropy(logits[:, :-1][trained].double(), labels[:, 1:][trained], reduction="sum")
        total, count, rows = total + lost.item(), count + int(trained.sum()), rows + len(labels)
    return total / count, rows


def packs(family: Family, folder: Path) -> str:
    """Returns ✓ if the loss of packed conversations is that of the same ones, each in a row of its own."""
    packed, unpacked = (losses(family, folder, packing) for packing in (True, False))
    assert packed[1] < unpacked[1]
    difference = abs(packed[0] - unpacked[0])
    assert difference < 1e-5, f"{family.name}: {packed} {unpacked}"
    return "✓"


def adapted(folder: Path) -> str:
    """Returns the layers that get an adapter each with `all-linear`."""
    args = ModelConfig(model_name_or_path=str(folder), use_peft=True, lora_target_modules="all-linear", lora_dropout=0.0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    check_lora_targets(args, model.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, of names that transformers has changed
        model = get_peft_model(model, get_peft_config(args))
    layers = [name.rpartition(".")[2] for name in model.targeted_module_names]
    experts = [".".join(name.split(".")[-2:]) for name in model.targeted_parameter_names]
    return ", ".join(f"`{name}`" for name in dict.fromkeys([*layers, *experts]))


# Of the conversations of templates.py.
TRIED = {
    "chat": ["turns", "system"],
    "thoughts": ["thought"],
    "calls": ["call, result, answer"],
    "parallel": ["parallel calls"],
}


def cheap(family: Family, folder: Path) -> dict[str, str]:
    """Returns the columns for which nothing is trained: ✓, or the line with which a row is refused.

    Args:
        family: The family.
        folder: Its model, see `build`.

    Raises:
        AssertionError: If something is wrong that is not refused.
    """
    found = verdicts(folder, family.template)
    by_case = {name: next((found[case] for case in cases if found[case] != "✓"), "✓") for name, cases in TRIED.items()}
    return by_case | {"packed": packs(family, folder), "adapters": adapted(folder)}


# --- Runs -----------------------------------------------------------------------------------------------------------------

# Two processes each; the tokenizer has not seen the lessons' words, so that a row has many tokens.
LONG = {"sft_instruct": ["--max_length", "1024"], "grpo_math": ["--max_prompt_length", "512", "--max_completion_length", "12"]}
ADAPTER = "--use_peft true --lora_target_modules all-linear --lora_dropout 0".split()


def run(here: Place, family: Family, number: int, adapter: bool = False) -> str:
    """Trains under ZeRO-3 and exports; returns ✓ if what plain transformers reads is what was trained, bit for bit.

    Args:
        here: Where the recipe's runs are; `outputs/N` is the family's model.
        family: The family.
        number: Its number.
        adapter: Whether adapters are trained, in all linear layers.
    """
    base = here.folder / "outputs" / str(number)
    if not base.exists():
        base.mkdir(parents=True)
        build(family, base)
    more = ["--model_name_or_path", str(base.relative_to(here.folder)), *LONG[here.recipe], *(ADAPTER if adapter else [])]
    trained = here.train(f"{number}-{'adapter' if adapter else 'whole'}", 3, *more)
    check(here, trained, base if adapter else None, f"{family.name}, ZeRO-3, {'adapters' if adapter else 'all weights'}")
    return "✓"


def runs(places: dict[str, Place], number: int) -> dict[str, str]:
    """Returns the columns of the runs of a family."""
    family = FAMILIES[number]
    return {
        "SFT": run(places["sft_instruct"], family, number),
        "adapters trained": run(places["sft_instruct"], family, number, adapter=True),
        "GRPO": run(places["grpo_math"], family, number),
    }


@contextmanager
def make_places(folder: Path, server: Server) -> Iterator[dict[str, Place]]:
    """Makes the places from which the recipes are run."""
    configs = folder / "configs"
    configs.mkdir()
    write_configs(configs)
    with serving(folder, imports=READING) as reader:
        recipes = ("sft_instruct", "grpo_math")
        yield {recipe: Place(recipe, folder / recipe, server, reader, configs) for recipe in recipes}


# --- The table ------------------------------------------------------------------------------------------------------------

HEADS = {
    "chat": "turns, system",
    "thoughts": "thoughts",
    "calls": "calls",
    "parallel": "parallel calls",
    "packed": "packed = alone",
    "adapters": "`all-linear` is",
    "SFT": "SFT, ZeRO-3, export",
    "adapters trained": "the same, adapters",
    "GRPO": "GRPO, ZeRO-3, export",
}


def table(columns: list[dict[str, str]]) -> str:
    """Returns the table, with the lines of refusal below it."""
    letters: dict[str, str] = {}

    def cell(text: str) -> str:
        if text == "✓" or text.startswith("`"):
            return text
        line = re.sub(r"message \d+", "message N", text.partition("; ")[0])
        return letters.setdefault(line, chr(ord("A") + len(letters)))

    rows = [f"| family | class | template | {' | '.join(HEADS.values())} |", "|---" * (3 + len(HEADS)) + "|"]
    for family, found in zip(FAMILIES, columns, strict=True):
        name = family.config.__name__.removesuffix("Config")
        rows.append(f"| {family.name} | {name} | {family.source} | {' | '.join(cell(found[head]) for head in HEADS)} |")
    tried = f"Packed rows were compared with each conversation alone for: {', '.join(sorted(PACKING_MODELS))}."
    return "\n".join([*rows, "", *(f"- {letter}: {line}" for line, letter in letters.items()), "", tried])


def whole_table(folder: Path, server: Server) -> str:
    """Returns the table, all of it run."""
    with make_places(folder, server) as places:
        columns = []
        for number, family in enumerate(FAMILIES):
            built = folder / str(number)
            built.mkdir()
            build(family, built)
            columns.append(cheap(family, built) | runs(places, number))
    return table(columns)


if __name__ == "__main__":
    with TemporaryDirectory() as folder, serving(Path(folder)) as server:
        write_part(PAGE, PROGRAM, whole_table(Path(folder), server))
