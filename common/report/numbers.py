"""Measured numbers as people read them."""

from typing import Any

from common.errors import say


def print_results(name: str, results: dict[str, dict[str, Any]]) -> None:
    """Prints the metrics of each held-out set.

    Args:
        name: The model's name.
        results: What the recipe's `evaluate` returned.
    """
    say(name)
    for split, result in results.items():
        say(f"\n{split}: {result['count']} problems")
        for metric, values in result["metrics"].items():
            if "low" in values:
                say(f"  {metric:<24}{values['value']:7.1%}   95 % interval [{values['low']:.1%}, {values['high']:.1%}]")
            else:
                say(f"  {metric:<24}{format_number(values['value']):>7}")


def format_number(value: float) -> str:
    """Returns a measured number with the digits worth reading: 12.3, 0.456."""
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
