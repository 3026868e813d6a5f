"""What a checkpoint's mark costs beside the save: the sizes and sums of its files, by which a damaged one is known.

    python benchmarks/mark.py --results benchmarks/results/mark.json

Saves what a Trainer saves (weights as safetensors, Adam's moments with torch.save, a small state), waits until it is on the
disk, as a mark has to, and marks it. What is timed is one process; each marks the files that it has written.
"""

import argparse
import datetime
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common.run.checkpoints import mark
from common.run.files import sync
from common.run.record import versions

import torch
from safetensors.torch import save_file

SIZES = {"0.6 million parameters": 600_000, "85 million parameters": 85_000_000}
LARGEST = 16_000_000  # parameters in one tensor


def seconds_of(save: int, weights: dict[str, torch.Tensor], checkpoint: Path) -> dict[str, float]:
    """Saves a checkpoint and marks it; returns the seconds of each part, and the bytes."""
    checkpoint.mkdir()
    began = time.monotonic()
    save_file(weights, checkpoint / "model.safetensors")
    moments = {name: {"exp_avg": weight, "exp_avg_sq": weight.clone()} for name, weight in weights.items()}
    torch.save({"state": moments, "step": save}, checkpoint / "optimizer.pt")
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": save}), encoding="utf-8")
    saved = time.monotonic()
    for path in checkpoint.iterdir():
        sync(path)
    on_disk = time.monotonic()
    mark(checkpoint, rank=0)
    marked = time.monotonic()
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    return {"bytes": size, "save": saved - began, "until on the disk": on_disk - saved, "mark": marked - on_disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--saves", type=int, default=5, help="of each size; the median counts")
    parser.add_argument("--output_dir", type=Path, help="a folder on the disk to be measured; a temporary one if not given")
    parser.add_argument("--results", type=Path, help="a JSON file for what is printed")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=args.output_dir) as folder:
        for name, count in SIZES.items():
            sizes = [min(LARGEST, count - start) for start in range(0, count, LARGEST)]
            weights = {f"layer.{number}": torch.randn(size) for number, size in enumerate(sizes)}
            runs = []
            for save in range(args.saves):
                runs.append(seconds_of(save, weights, Path(folder) / f"checkpoint-{save}"))
                shutil.rmtree(Path(folder) / f"checkpoint-{save}")
            row = {"size": name, **{part: round(median(run[part] for run in runs), 4) for part in runs[0]}}
            row["mark, share of the save"] = round(row["mark"] / (row["save"] + row["until on the disk"]), 4)
            print(json.dumps(row), flush=True)
            rows.append(row)
    if args.results:
        record = {"date": f"{datetime.date.today()}", "command": " ".join(["python", *sys.argv]), **versions(), "saves": rows}
        args.results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
