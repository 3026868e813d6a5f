"""Where it cannot run is said in one line."""

import subprocess
import sys

from conftest import ROOT


def test_windows_is_refused_before_anything_is_imported():
    script = "import sys; sys.platform = 'win32'; import common"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: the recipes need Linux")
    assert len(ended.stderr.splitlines()) == 1
