"""Runs a recipe's train.py on training rows whose answers have been dealt out anew: what only they say must not be learned.

python benchmarks/learn.py --shuffled                                  # all recipes, against `shuffled` of expected.yaml
accelerate launch benchmarks/shuffled_labels.py recipes/sft_instruct/train.py --output_dir DIR
"""

import dataclasses
import random
import runpy
import sys
from pathlib import Path
from typing import Any


def _answers(row: Any) -> list[Any]:
    """Returns what a row teaches: the answer of a problem, or what the assistant says in a conversation."""
    if dataclasses.is_dataclass(row):
        return [row.answer]
    return [message for message in row["messages"] if message["role"] == "assistant"]


def _with_answers(row: Any, answers: list[Any]) -> Any:
    if dataclasses.is_dataclass(row):
        return dataclasses.replace(row, answer=answers[0])
    left = iter(answers)
    return row | {"messages": [next(left) if said["role"] == "assistant" else said for said in row["messages"]]}


def shuffled(rows: list[Any], seed: int = 0) -> list[Any]:
    """Returns rows that ask the same, each with the answers of another row that has as many."""
    rng, dealt = random.Random(seed), list(rows)
    for count in {len(_answers(row)) for row in rows}:
        places = [place for place, row in enumerate(rows) if len(_answers(row)) == count]
        others = [_answers(rows[place]) for place in places]
        rng.shuffle(others)
        for place, answers in zip(places, others, strict=True):
            dealt[place] = _with_answers(rows[place], answers)
    return dealt


def main() -> None:
    script = Path(sys.argv[1]).resolve()
    sys.argv, sys.path[0] = [str(script), *sys.argv[2:]], str(script.parent)
    import data

    load_data = data.load_data

    def load_shuffled(*args: Any, **settings: Any) -> tuple:
        train, *others = load_data(*args, **settings)
        return shuffled(train), *others

    data.load_data = load_shuffled
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
