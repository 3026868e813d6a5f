"""A run: its settings, its loop, its record, its checkpoints."""

import sys
from pathlib import Path

from common.progress import doing

# From a cold disk the imports that follow take a while, in which a recipe's script is not to be silent.
if Path(sys.argv[0]).stem.startswith(("train", "evaluate")):
    doing("importing the libraries")
