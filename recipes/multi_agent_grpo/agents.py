"""The team: agents.yaml read and checked, and a batch that holds whole teams."""

import re
from dataclasses import dataclass
from math import lcm
from pathlib import Path

from common.errors import fail, nearest
from common.run.yaml_file import read_yaml, value_of

from trl import GRPOConfig, ModelConfig

KEYS = ["name", "prompt"]
BEST = "best"  # as the single agent: the one that is best by the validation
# What results and a run's folders and adapters are called; no agent can be called so.
TAKEN = re.compile(
    r"((confidence_)?vote|self_consistency)(_\d+)?|mean_logits|single(_agent)?|aggregator|team|best|disagreement|accuracy|default"
    r"|complete|completions|logs|runs",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Agent:
    """A role.

    Attributes:
        name: What the agent is called in the report.
        prompt: Its system prompt.
    """

    name: str
    prompt: str


def _agent(path: Path, where: str, entry: object, name: str | None = None) -> Agent:
    """Reads one entry of agents.yaml; the aggregator's name is given."""
    if not isinstance(entry, dict):
        fail(f"{path}, {where}: must hold `name` and `prompt`, not {type(entry).__name__}; see agents.yaml of the recipe")
    for key in entry:
        if key not in KEYS:
            fail(f"{path}, {where}: unknown key `{key}`{nearest(str(key), KEYS) or '; there is: name, prompt'}")
    name = name or entry.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
        fail(f"{path}, {where}: `name` is {name!r}; give a word of letters, digits and `_`, for example `name: algebra`")
    prompt = entry.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        fail(f"{path}, {where} ({name}): a role without a `prompt`; say how this agent works, in a sentence or two")
    return Agent(name, prompt.strip())


def load_team(agents_file: str) -> tuple[list[Agent], Agent]:
    """Reads the team.

    Args:
        agents_file: A yaml file like agents.yaml; a relative path is looked for beside the recipe first.

    Returns:
        The agents in the order of the file, and the aggregator.

    Raises:
        SystemExit: With code 2 and one line for a file that is missing or not yaml, fewer than two agents, a name that is used
            twice or is that of a result, and a role without a prompt.
    """
    beside = Path(__file__).parent / agents_file
    path = beside if beside.exists() else Path(agents_file)
    root = read_yaml(path, "agents_file", "pass an existing file, such as agents.yaml")
    content = value_of(root, str(path)) if root else {}
    for key in content:
        if key not in ("agents", "aggregator"):
            fail(
                f"{path}: unknown key `{key}`{nearest(str(key), ['agents', 'aggregator']) or '; there is: agents, aggregator'}"
            )
    if not isinstance(content.get("agents"), list):
        fail(f"{path} has no list `agents`; see agents.yaml of the recipe")
    team = [_agent(path, f"agent {number}", entry) for number, entry in enumerate(content["agents"], start=1)]
    if len(team) < 2:
        fail(f"{path}: number of agents {len(team)}; a team needs at least 2 (for a single one use the recipe grpo_math)")
    names = [agent.name for agent in team]
    for number, name in enumerate(names, start=1):
        if name in names[: number - 1]:
            first = names.index(name) + 1
            fail(f"{path}, agent {number}: the name {name} is that of agent {first} already; give each its own")
        if TAKEN.fullmatch(name):
            fail(f"{path}, agent {number}: the name {name} is kept for other uses; choose another")
    return team, _agent(path, "aggregator", content.get("aggregator"), name="aggregator")


def check_team(
    team: list[Agent], single_agent: str, adapter_per_agent: bool, training_args: GRPOConfig, model_args: ModelConfig
) -> None:
    """Checks that the settings fit the team, before a model loads.

    The completions generated at once must be whole teams: for each problem a group of every agent. Where agents are trained in
    turns, a group of one agent will do.

    Args:
        team: The agents.
        single_agent: The one that is also trained alone, `best` or empty.
        adapter_per_agent: Whether they are trained in turns.
        training_args: Give the sizes and the number of processes.
        model_args: Say whether adapters are trained.

    Raises:
        SystemExit: With code 2; of sizes the line names the nearest that work.
    """
    names = [*(agent.name for agent in team), BEST]
    if single_agent and single_agent not in names:
        hint = nearest(single_agent, names) or f"; there is: {', '.join(names)}"
        fail(f"single_agent {single_agent}: there is no such agent{hint}")
    if adapter_per_agent and not model_args.use_peft:
        fail("adapter_per_agent without use_peft: the adapters are LoRA's; add `--use_peft true`")
    weights = training_args.reward_weights
    if single_agent and weights and not any(weights[:2]):
        fail(
            "reward_weights: single_agent is paid for being right and for the format alone, and both weigh 0; set one above 0, "
            'or `--single_agent ""`'
        )
    if training_args.shuffle_dataset:
        fail("shuffle_dataset would tear teams apart: leave it false (the problems are shuffled, with `seed`, before)")
    num_agents = 1 if adapter_per_agent else len(team)
    batch, whole = training_args.generation_batch_size, num_agents * training_args.num_generations
    if batch % whole == 0:
        return
    per_device, others = training_args.per_device_train_batch_size, batch // training_args.per_device_train_batch_size
    unit = lcm(whole, others) // others
    below, above = per_device // unit * unit, (per_device // unit + 1) * unit
    fail(
        f"{batch} completions a generation ({per_device} a device x {training_args.world_size} processes x "
        f"{training_args.steps_per_generation} steps) do not hold whole teams of {num_agents} agents x num_generations "
        f"{training_args.num_generations} = {whole}; nearest per_device_train_batch_size: "
        f"{f'{below} or ' if below > 0 else ''}{above}"
    )
