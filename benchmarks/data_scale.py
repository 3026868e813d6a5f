"""How long many rows take until they can be trained on, at the first start and the next, and the memory for files of any size.

    python benchmarks/data_scale.py                        # 100,000 rows of 4 exchanges, 25,000 of 16; files of 0.5 and 1 GB
    python benchmarks/data_scale.py --rows 2000 --sizes 20 40

Measured is `recipes prepare sft_instruct`, which reads, checks, holds out and makes tokens as a run does before it loads its
model. The files are made from a seed in a temporary folder, of common English words; the cache is a new one. The memory is the
most that the process and those it forks had at once of their own: what they share counts once, and the pages of mapped files,
which the system takes back when it needs them, do not.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from common.models.tiny import tiny_config, tiny_tokenizer

from faker.providers.lorem.en_US import Provider

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "pretrained" / "SmolLM2-135M-Instruct"
EVERY = 0.5  # seconds between two looks at the memory


def rows_of(exchanges: int, seed: int = 0) -> Iterator[str]:
    """Yields conversations as lines of a jsonl, without end: about 100 tokens an exchange."""
    rng = random.Random(seed)
    while True:
        turns = []
        for _ in range(exchanges):
            turns.append({"role": "user", "content": " ".join(rng.choices(Provider.word_list, k=19)) + "?"})
            turns.append({"role": "assistant", "content": " ".join(rng.choices(Provider.word_list, k=41)) + "."})
        yield json.dumps({"messages": turns}) + "\n"


def write(path: Path, exchanges: int, *, rows: int = 0, megabytes: float = 0) -> int:
    """Writes a file of so many rows, or of so many megabytes, and returns how many rows it has."""
    count, size = 0, 0
    with path.open("w", encoding="utf-8") as file:
        for line in rows_of(exchanges):
            if count >= rows and size >= megabytes * 1e6:
                return count
            count, size = count + 1, size + file.write(line)
    return count


def model_in(folder: Path) -> Path:
    """Returns a folder with a tokenizer and a chat template: the small pretrained model's if it is here, else a tiny one's."""
    if MODEL.is_dir():
        return MODEL
    lines = rows_of(4, seed=1)
    texts = [said["content"] for _ in range(300) for said in json.loads(next(lines))["messages"]]
    tokenizer = tiny_tokenizer(texts, "llama", 2000, [])
    tokenizer.save_pretrained(folder)
    tiny_config("llama", tokenizer).save_pretrained(folder)
    return folder


def own_memory(pid: int) -> int:
    """Returns the bytes that a process and its children hold of their own, each page once."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:  # it has ended
        return total
    return total + sum(own_memory(int(child)) for child in children)


def prepare(path: Path, model: Path, cache: Path) -> tuple[float, float, int]:
    """Prepares the data of a run, and returns the seconds and the seconds of all cores that took, and the most bytes."""
    command = [sys.executable, "-c", "from common.commands.main import main; main()", "prepare", "sft_instruct", "--show", "0"]
    flags = {"dataset_name": path, "model_name_or_path": model, "max_length": 8192, "output_dir": cache / "run"}
    command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    environment = os.environ | {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets"), "DS_ACCELERATOR": "cpu"}
    begun, before, most = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None:
        most = max(most, own_memory(process.pid))
        time.sleep(EVERY)
    if process.returncode:
        sys.exit(process.stdout.read())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begun, computed, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of 4 exchanges; a fourth of them of 16")
    parser.add_argument("--sizes", type=float, nargs="*", default=[500, 1000], help="megabytes of the files for the memory")
    args = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores\n")
    print("| rows | exchanges | MB | first start (all cores) | next start (all cores) | memory |\n|---|---|---|---|---|---|")
    files = [(4, {"rows": args.rows}), (16, {"rows": args.rows // 4})] if args.rows else []
    for exchanges, size in [*files, *((4, {"megabytes": size}) for size in args.sizes)]:
        with TemporaryDirectory(prefix="data-scale-") as folder:
            path, cache = Path(folder) / "rows.jsonl", Path(folder) / "cache"
            model = model_in(Path(folder) / "model")
            count = write(path, exchanges, **size)
            starts = [prepare(path, model, cache) for _ in range(2)]
            seconds = " | ".join(f"{wall:.0f} s ({computed:.0f} s)" for wall, computed, _ in starts)
            most = max(memory for _, _, memory in starts)
            print(f"| {count} | {exchanges} | {path.stat().st_size / 1e6:.0f} | {seconds} | {most / 1e6:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
