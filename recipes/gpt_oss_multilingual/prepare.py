"""What a run would train on, without a model; see common.commands.prepare.

recipes prepare gpt_oss_multilingual --dataset_name my_thoughts.jsonl
"""

from common.commands.prepare import Prepared, supervised
from common.run.config import parse

from trl import SFTConfig

from arguments import MultilingualArguments


def prepare(argv: list[str], show: int) -> Prepared:
    """Returns what a run with the flags `argv` would train on, and its first `show` rows."""
    args, training_args, model_args = parse(__file__, MultilingualArguments, SFTConfig, argv)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.models.config import check_model
    from common.models.load import load_tokenizer

    from data import load_data, read_date, texts
    from evaluate import check_held_out

    check_model(model_args, packing=training_args.packing)
    train, validation, held_out = load_data(args, training_args.seed)
    tokenizer = load_tokenizer(model_args, texts(train, args), read_date(args))
    held_out = check_held_out(held_out, tokenizer, args)
    return supervised(
        train,
        validation,
        held_out,
        tokenizer,
        training_args.max_length,
        name=args.dataset_name,
        skip_bad_rows=args.skip_bad_rows,
        show=show,
    )
