"""A run of `make chaos` that breaks off is a finding with a report, not a traceback."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_run_that_breaks_off(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos", "--minutes", "0.01", "--seed", "7"]
    environment = os.environ | {"DBT_PROFILES_DIR": str(tmp_path / "nothing"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The run came to no good end: NotSettledError: " in done.stderr
    assert "1 findings" in done.stderr
    assert "Traceback" not in done.stderr
    assert "MINUTES=0.01 SEED=7" in done.stdout
