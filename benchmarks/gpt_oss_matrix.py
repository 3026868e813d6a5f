"""Draws which questions were thought through in the language asked for, after each of some runs, side by side.

    run=outputs/gpt_oss_multilingual
    python benchmarks/gpt_oss_matrix.py --output docs/images/gpt_oss_multilingual_matrix.png \\
        "after tiny.yaml=$run/tiny:held_out,other_languages" "then tiny_lora.yaml=$run/tiny_lora:other_languages,held_out"
"""

import argparse
from pathlib import Path
from typing import Any

from common.data.runs import read_rows

from heatmap import draw_matrices

TITLE = "Thoughts in the language asked for"


def last_matrices(run: Path, splits: list[str]) -> list[dict[str, Any]]:
    """Returns what a run measured last on some held-out sets, each as a matrix.

    Args:
        run: Its folder.
        splits: Names of its held-out sets.
    """
    rows = read_rows(run / "metrics.jsonl")
    last = {row["split"]: row for row in rows if "split" in row}
    return [next(matrix for matrix in last[split]["matrices"] if matrix["title"] == TITLE) for split in splits]


def join(matrices: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns matrices with the same rows as one, the columns of each beside those of the one before."""
    columns = [column for matrix in matrices for column in matrix["columns"]]
    values = [[value for matrix in matrices for value in matrix["values"][y]] for y in range(len(matrices[0]["rows"]))]
    return {**matrices[0], "columns": columns, "values": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrices", nargs="+", help="CAPTION=RUN:SPLIT,SPLIT")
    parser.add_argument("--output", type=Path, required=True, help="the picture to write")
    args = parser.parse_args()
    drawn = []
    for text in args.matrices:
        caption, _, source = text.partition("=")
        run, _, splits = source.rpartition(":")
        drawn.append((caption, join(last_matrices(Path(run), splits.split(",")))))
    args.output.write_bytes(draw_matrices(drawn))


if __name__ == "__main__":
    main()
