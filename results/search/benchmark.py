"""How long the default run takes, from pressing enter.

    python -m results.search.benchmark

Writes run.json to results/search.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effsearch.search.executors import usable_cores

FOLDER = Path("results") / "search"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once, print the result and write it."""
    parser = argparse.ArgumentParser(prog="python -m results.search.benchmark")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--budget-ms", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    result = {
        "command": " ".join(["python -m results.search.benchmark", *given]),
        "machine": machine(),
        **default_run(options.device, options.budget_ms),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "run.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def machine() -> dict[str, Any]:
    """Return what a timing depends on."""
    return {
        "cores": usable_cores(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def default_run(device: str, budget_ms: float) -> dict[str, Any]:
    """Return how long the default run takes, as a person sees it: the process from its start."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = ["--budget-ms", f"{budget_ms:g}", "--device", device]
        command = [sys.executable, "-m", "effsearch", "run", *options]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(out), "--json"], stdout=subprocess.PIPE, check=True
        )
        seconds = time.perf_counter() - began
        summary = json.loads(done.stdout)
        study_mb = (out / "study.log").stat().st_size / 1e6
        models = sum(path.stat().st_size for path in out.glob("winners/*/model.onnx"))
    return {
        "what": f"effsearch run {' '.join(options)}",
        "seconds_from_enter_to_winners": round(seconds, 1),
        "seconds_of_search": summary["seconds"],
        "considered": summary["considered"],
        "recorded": summary["priced"],
        "study_mb": round(study_mb, 2),
        "models_mb": round(models / 1e6, 2),
        "target": "1,000,000 considered and winners within 30 s on 2 cores; study.log within 6 MB",
        "met": seconds <= 30 and summary["considered"] >= 1_000_000 and study_mb <= 6,
    }


if __name__ == "__main__":
    main()
