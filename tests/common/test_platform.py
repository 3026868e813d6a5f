"""Where it cannot run is said in one line."""

import io
import os
import subprocess
import sys

from conftest import ROOT


def test_windows_is_refused_before_anything_is_imported():
    script = "import sys; sys.platform = 'win32'; import common"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: the recipes need Linux")
    assert len(ended.stderr.splitlines()) == 1


def test_a_file_gets_no_progress_bars_whatever_was_imported_before():
    """What tqdm is to do is read when it is first imported, by whichever file of these tests."""
    file = io.StringIO()
    assert list(sys.modules["tqdm"].tqdm(range(2), file=file)) == [0, 1]
    assert os.environ.get("TQDM_DISABLE") != "1" or not file.getvalue()
