"""What a run would train on, without a model; see common.commands.prepare.

recipes prepare grpo_math --dataset_name my_problems.jsonl
"""

from common.commands.prepare import Prepared, prompted
from common.run.config import parse

from trl import GRPOConfig

from arguments import MathArguments


def prepare(argv: list[str], show: int) -> Prepared:
    """Returns what a run with the flags `argv` would train on, and its first `show` rows."""
    args, training_args, model_args = parse(__file__, MathArguments, GRPOConfig, argv)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.tokens import render
    from common.models.config import check_model
    from common.models.load import load_tokenizer, with_variables

    from data import conversation, load_data, measure_prompts

    check_model(model_args)
    train, validation, held_out = load_data(args, training_args.seed)
    tokenizer = load_tokenizer(model_args, texts=[text for problem in train for text in (problem.question, problem.solution)])
    with_variables(tokenizer, training_args.chat_template_kwargs)
    measure_prompts(
        [*train, *validation, *(problem for problems in held_out.values() for problem in problems)], tokenizer, args
    )
    return prompted(
        train,
        validation,
        held_out,
        lambda problem: render(conversation(problem.question, args.system_prompt), tokenizer, prompt=True),
        tokenizer,
        args.max_prompt_length,
        show=show,
    )
