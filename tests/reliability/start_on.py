"""Runs a command on a machine that is not as it should be: `python start_on.py SCRIPT ARGUMENTS`, code for it in MACHINE."""

import os
import runpy
import sys

exec(os.environ.pop("MACHINE"), {})
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
