"""Tables of shares as pictures, for documents: a cell a pair, darker for more. A report has them as tables."""

import io
from typing import Any

from matplotlib.figure import Figure

CELL = 0.62  # inches; a cell holds a percentage of three digits
MOST_NUMBERS = 12  # columns beyond which cells are too many to be read as numbers


def _as_text(name: str) -> str:
    return name.replace("$", r"\$")  # matplotlib takes what stands between two dollar signs for a formula


def draw_matrices(matrices: list[tuple[str, dict[str, Any]]]) -> bytes:
    """Draws matrices side by side, without pyplot.

    Args:
        matrices: What stands above each, and the matrix: `rows` and `columns` (names), `row_title`, `column_title`, and
            `values`, a list of shares in [0, 1] for each row, None where there is none.

    Returns:
        The picture's file, a PNG.
    """
    rows, columns = (max(len(matrix[side]) for _, matrix in matrices) for side in ("rows", "columns"))
    with_numbers = columns <= MOST_NUMBERS
    cell = CELL if with_numbers else CELL / 3
    size = (max(3.6, columns * cell + 1.6) * len(matrices), max(1.8, rows * cell * 0.62 + 1.5))
    figure = Figure(size, layout="constrained", facecolor="white")
    for index, (caption, matrix) in enumerate(matrices):
        axes = figure.add_subplot(1, len(matrices), index + 1)
        values = [[float("nan") if value is None else value for value in row] for row in matrix["values"]]
        shown = [value for _, other in matrices for row in other["values"] for value in row if value is not None]
        # Shares of a whole, such as those of 32 experts, are far below 1: the darkest is the largest of them.
        axes.imshow(values, cmap="Blues", vmin=0, vmax=max(*shown, 1e-9), aspect="auto")
        rows, columns = ([_as_text(name) for name in matrix[side]] for side in ("rows", "columns"))
        axes.set_xticks(range(len(columns)), columns, rotation=35 if with_numbers else 90, fontsize=9)
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        axes.set_xlabel(matrix["column_title"], fontsize=9.5)
        axes.set_ylabel(matrix["row_title"], fontsize=9.5)
        axes.set_title(caption, loc="left", fontsize=10.5, fontweight="bold")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for y, row in enumerate(matrix["values"] if with_numbers else []):
            for x, value in enumerate(row):
                dark = value is not None and value > 0.6 * max(shown)
                text = "-" if value is None else f"{value:.0%}"
                axes.text(x, y, text, ha="center", va="center", fontsize=9, color="white" if dark else "#1e2126")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()
