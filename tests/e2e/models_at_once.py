"""Runs multi_agent_grpo's train.py, and prints at each loading of a model how many of the earlier ones are still in memory.

Started by test_multi_agent.py with the flags of the run.
"""

import gc
import runpy
import sys
import weakref
from pathlib import Path

from common.models import load

SCRIPT = Path(__file__).parents[2] / "recipes" / "multi_agent_grpo" / "train.py"


def main() -> None:
    alive, load_model = weakref.WeakSet(), load.load_model

    def counted(*args, **kwargs):
        gc.collect()
        print(f"models in memory: {len(alive)}", flush=True)
        model = load_model(*args, **kwargs)
        alive.add(model)
        return model

    load.load_model = counted
    sys.path.insert(0, str(SCRIPT.parent))
    sys.argv[0] = str(SCRIPT)
    runpy.run_path(str(SCRIPT), run_name="__main__")


if __name__ == "__main__":
    main()
