"""The benchmarks produce every figure that they promise; how good the figures are says only a machine that does nothing else."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

FIGURES = 42


def test_quick_benchmarks_produce_every_figure(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert len(found["figures"]) == FIGURES
    for figure in found["figures"]:
        assert figure["median"] > 0
        assert f"{figure['name']}, {figure['unit']}" in done.stdout
    assert {figure["met"] for figure in found["figures"]} <= {True, False, None}
    assert found["sizes"]["rounds"] == len(found["figures"][0]["rounds"])
