"""What a run would train on, without a model; see common.commands.prepare.

recipes prepare multi_agent_grpo --dataset_name my_problems.jsonl
"""

from common.commands.prepare import Prepared, prompted
from common.run.config import parse

from trl import GRPOConfig

from agents import load_team
from arguments import TeamArguments


def prepare(argv: list[str], show: int) -> Prepared:
    """Returns what a run with the flags `argv` would train on, and its first `show` rows."""
    args, training_args, model_args = parse(__file__, TeamArguments, GRPOConfig, argv)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.tokens import render
    from common.models.config import check_model
    from common.models.load import load_tokenizer, with_variables

    from data import conversation, load_data, measure_prompts

    team, _ = load_team(args.agents_file)
    check_model(model_args)
    train, validation, held_out = load_data(args, training_args.seed)
    tokenizer = load_tokenizer(model_args)
    with_variables(tokenizer, training_args.chat_template_kwargs)
    measure_prompts([*train, *validation, *held_out["held_out"]], team, tokenizer, args)
    return prompted(
        train,
        validation,
        held_out,
        lambda problem: render(conversation(problem.question, team[0].prompt), tokenizer, prompt=True),
        tokenizer,
        args.max_prompt_length,
        show=show,
    )
