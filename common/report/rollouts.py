"""The completions that GRPO trained on, group by group."""

import json
from typing import Any

ROOM = 400_000  # characters of the page


def rollouts_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the groups of a run as the page's script shows them, steps evenly left out beyond `ROOM`.

    Args:
        rows: Those of rollouts.jsonl: `step`, `prompt` and `completions` of `text`, `rewards` by function, `reward` (their
            weighted sum) and `advantage`.

    Returns:
        `steps`, each `step` and its `groups`, and `left_out`, a sentence, empty if nothing is.
    """
    by_step: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append({key: row[key] for key in ("prompt", "completions")})
    steps = [{"step": step, "groups": groups} for step, groups in sorted(by_step.items())]
    sizes = [len(json.dumps(step)) for step in steps]
    every = max(1, -(-sum(sizes) // ROOM))
    kept = steps[::every] + (steps[-1:] if steps and (len(steps) - 1) % every else [])
    missing = len(steps) - len(kept)
    text = f"Left out, so that the page stays small: {missing} steps in between; rollouts.jsonl has them." if missing else ""
    return {"steps": kept, "left_out": text}
