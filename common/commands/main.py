"""The command `recipes`: what is done with recipes, with their runs, and on a machine before the first of them.

A command imports what it alone needs: transformers takes seconds to import, and most commands do without it.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from common.commands.chat import chat_with
from common.commands.copy import copy_recipe
from common.commands.list import list_recipes
from common.commands.places import OUTPUTS
from common.errors import fail, say
from common.progress import doing, idle

import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's output folder, or a checkpoint-N in it.")]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        say(f"zero-recipes {version('zero-recipes')}")
        raise typer.Exit


@app.callback()
def recipes(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Lists, plans, copies recipes, looks at data and runs, evaluates, talks to, serves and exports models, and more."""


@app.command("list")
def list_() -> None:
    """Lists the recipes: name, full-size model, what is learned."""
    list_recipes()


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A recipe's name, or a recipe's folder.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A new name under recipes/, or the path of a new folder.")],
) -> None:
    """Copies a recipe under a new name, to make it yours."""
    copy_recipe(source, new)


# Whatever follows RECIPE belongs to the recipe, but for --json and --show.
@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def prepare(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or a recipe's folder.")],
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="FLAGS", help="Those of its train.py; --json for JSON, --show N for N rows.")
    ] = None,
) -> None:
    """Shows what a run would train on, without a model: rows read, left out and held out, and what is trained of the first."""
    from common.commands.prepare import prepare_recipe

    prepare_recipe(recipe, flags or [])


# Whatever follows RUN belongs to the chat, `--help` too.
@app.command(context_settings={"allow_interspersed_args": False})
def chat(
    run: Run,
    args: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="`recipes chat RUN --help` lists them.")] = None,
) -> None:
    """Talks to a trained model, with the recipe's chat.py if it has one."""
    chat_with(run, args or [])


# Whatever follows RUN belongs to the recipe's evaluate.py, `--help` too.
@app.command("eval", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def eval_(
    run: Run,
    flags: Annotated[list[str] | None, typer.Argument(metavar="FLAGS", help="Those of the recipe's evaluate.py.")] = None,
) -> None:
    """Evaluates a trained model as its recipe does, with its recipe's evaluate.py, in one process."""
    from common.commands.eval import evaluate_run

    evaluate_run(run, flags or [])


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run, a checkpoint-N in it, an export, or a saved model.")],
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Answers on this machine in the form of OpenAI's API, with the model of a run or a folder."""
    from common.commands import serve as module

    module.serve(folder, port)


@app.command()
def export(
    run: Run,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", metavar="DIR", help="A new folder; RUN/export if not given.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Also upload it, as a new private repository.")
    ] = None,
) -> None:
    """Makes a standalone model of a run, and checks it."""
    doing(f"exporting {run}")
    try:
        from common.commands.export import export_run

        export_run(run, output_dir, push)
    finally:
        idle()


@app.command()
def reshard(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The output folder of an interrupted run.")],
    num_processes: Annotated[int, typer.Option("--num_processes", metavar="N", help="How many will continue it.")],
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", metavar="DIR", help="A new folder; RUN-N-processes if not given.")
    ] = None,
    per_device_train_batch_size: Annotated[
        int | None, typer.Option("--per_device_train_batch_size", metavar="ROWS", help="As it was if not given.")
    ] = None,
    gradient_accumulation_steps: Annotated[
        int | None, typer.Option("--gradient_accumulation_steps", metavar="STEPS", help="As it was if not given.")
    ] = None,
) -> None:
    """Makes a copy of an interrupted run that another number of processes continues."""
    from common.commands.reshard import reshard_run

    reshard_run(run, num_processes, output_dir, per_device_train_batch_size, gradient_accumulation_steps)


@app.command(add_help_option=False)
def score(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A recipe's name, or a recipe's folder.")] = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Rows of `completion` and what `recipes score RECIPE --help` names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts and the metrics as JSON.")] = False,
    show_help: Annotated[bool, typer.Option("--help", help="Show this; with RECIPE also what a row has to hold.")] = False,
) -> None:
    """Scores completions made anywhere as a recipe does: verdicts, and metrics with 95 % intervals."""
    from common.commands.score import describe_columns, score_file

    if show_help:
        typer.echo(context.get_help())
        if recipe is not None:
            typer.echo(describe_columns(recipe))
    elif recipe is None or file is None:
        fail(f"Missing argument '{'RECIPE' if recipe is None else 'FILE'}'; `recipes score --help` says what it takes")
    else:
        score_file(recipe, file, as_json)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they are, at any depth.")] = OUTPUTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """Lists runs, the newest first: what they train on what, how far they are, their last scores and their state."""
    from common.commands.runs import list_runs

    list_runs(folder, as_json)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more; each is held against the first.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, the examples whole.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page: curves, and all kept answers side by side."),
    ] = None,
) -> None:
    """Shows runs side by side: settings that differ, scores, and the difference on the same problems with its interval."""
    from common.commands.compare import compare_runs

    compare_runs(folders, as_json, html)


@app.command()
def plan(
    source: Annotated[str, typer.Argument(metavar="RECIPE|MODEL", help="A recipe; or a model: a hub id, or a folder.")],
    gpus: Annotated[int | None, typer.Option("--gpus", metavar="N", help="Those of this machine if not given, or 1.")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", "--gpu_memory", metavar="GIB", help="Of a GPU; this machine's if not given.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="One configuration; all of the recipe if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, in GiB.")] = False,
) -> None:
    """Says what fits on which GPUs, from a model's config.json: ZeRO stage, micro-batch, memory by parts, launch command."""
    from common.commands import plan as module

    module.plan(source, gpus, gpu_memory, config, as_json)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print a list of check, state, what, cure.")] = False) -> None:
    """Checks this machine: packages, GPUs, two processes that add up, compiler, disk, hub; exits with 1 if a check fails."""
    from common.commands.doctor import examine

    raise typer.Exit(examine(as_json))


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: The words after `recipes`; those of this process if not given.

    Raises:
        SystemExit: With code 2 and one line on standard error for a mistake in them.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(arguments or ["--help"], prog_name="recipes", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        known = arguments and arguments[0] in typer.main.get_command(app).commands
        cure = f"`recipes {arguments[0]} --help` says what it takes" if known else "`recipes --help` lists the commands"
        fail(message if "?" in message else f"{message}; {cure}")
    raise SystemExit(code or 0)
