"""`recipes chat RUN`: the recipe's own chat.py, or a plain chat in which each line of standard input is a turn."""

import argparse
import runpy
import sys
from pathlib import Path

from common.commands import places
from common.data.runs import read_record
from common.errors import fail
from common.generate.chat import _talk
from common.models.saved import load_run

from transformers import GenerationConfig


def chat_with(run: Path, args: list[str]) -> None:
    """Talks to the model of a run, with the recipe's chat.py if it has one.

    Args:
        run: The run's folder, or one of its checkpoints.
        args: What follows it on the command line.

    Raises:
        SystemExit: With code 2 and one line for a mistake in them.
    """
    _, record = read_record(run)
    # By its name, among the recipes of this checkout: the record of a run that comes from elsewhere must not name a script.
    folder = next((folder for folder in places.recipe_folders() if folder.name == record["recipe"]), places.RECIPES)
    if (folder / "chat.py").is_file():
        sys.argv = [str(folder / "chat.py"), str(run), *args]
        sys.path.insert(0, str(folder))
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        main([str(run), *args])


def main(arguments: list[str] | None = None) -> None:
    """Talks to the model of a run: each line of standard input is a turn.

    Args:
        arguments: The command line; that of this process if not given.

    Raises:
        SystemExit: With code 2 and one line for a mistake in them.
    """
    parser = argparse.ArgumentParser(prog="recipes chat", description=main.__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint-N in it")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the likeliest token")
    parser.add_argument("--max_new_tokens", type=int, help="where an answer is cut; max_completion_length of the run, or 256")
    parser.add_argument("--system_prompt", help="what the model is told first; that of the run if not given")
    args = parser.parse_args(arguments)
    if args.temperature < 0:
        fail(f"--temperature is {args.temperature:g}; use 0 for the likeliest token, or a number above 0")
    if args.max_new_tokens is not None and args.max_new_tokens < 1:
        fail(f"--max_new_tokens is {args.max_new_tokens}; use at least 1")
    model, tokenizer, settings = load_run(args.run)
    if args.system_prompt is None:
        args.system_prompt = settings.get("system_prompt") or ""
    # As when the run was measured: not with the penalties and the sampling that a model suggests for chatting.
    model.generation_config = GenerationConfig(
        max_new_tokens=args.max_new_tokens or settings.get("max_completion_length") or 256,
        do_sample=args.temperature > 0,
        temperature=args.temperature if args.temperature > 0 else 1.0,
        top_k=0 if args.temperature > 0 else 50,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    try:
        _talk(model, tokenizer, args.system_prompt)
    except (EOFError, KeyboardInterrupt):
        if sys.stdin.isatty():
            print()


if __name__ == "__main__":
    main()
