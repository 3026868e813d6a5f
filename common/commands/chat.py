"""`recipes chat RUN`: the recipe's own chat.py, or a plain chat in which each line of standard input is a turn."""

from pathlib import Path
from typing import Any

from common.commands import places
from common.data.runs import read_record
from common.errors import say
from common.generate.chat import answer, chat_parser, load_for_chat, talk


def chat_with(run: Path, args: list[str]) -> None:
    """Talks to the model of a run, with the recipe's chat.py if it has one.

    Args:
        run: The run's folder, or one of its checkpoints.
        args: What follows it on the command line.

    Raises:
        SystemExit: With code 2 and one line for a mistake in them.
    """
    _, record = read_record(run)
    recipe = places.recipe_of(record)
    if recipe is not None and (recipe / "chat.py").is_file():
        places.run_script(recipe / "chat.py", [str(run), *args])
        return
    if recipe is None:
        say(
            f"There is no recipe {record['recipe']!r} here: this is the plain chat; `python CHAT.py {run}` starts one of yours."
        )
    main([str(run), *args])


def main(arguments: list[str] | None = None) -> None:
    """Talks to the model of a run: each line of standard input is a turn.

    Args:
        arguments: The command line; that of this process if not given.

    Raises:
        SystemExit: With code 2 and one line for a mistake in them.
    """
    parser = chat_parser(main.__doc__)
    parser.add_argument("--system_prompt", help="what the model is told first; that of the run if not given")
    args = parser.parse_args(arguments)
    model, tokenizer, settings = load_for_chat(args.run, args)
    system_prompt = settings.get("system_prompt") if args.system_prompt is None else args.system_prompt

    def reply(messages: list[dict[str, Any]]) -> None:
        messages.append({"role": "assistant", "content": answer(model, tokenizer, messages)})

    talk(reply, history=True, start=[{"role": "system", "content": system_prompt}] if system_prompt else [])


if __name__ == "__main__":
    main()
