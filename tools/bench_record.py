#!/usr/bin/env python3
"""Writes a record of benchmarks (benches/record/) from what criterion left in its folders.

    tools/bench_record.py 'cargo bench --bench masked' target/criterion [FOLDER...]

prints the command that was measured, this machine, its compiler and the commit in comment lines, and then
`id,elements,nanoseconds` for each benchmark: the least time per call of all samples in all folders, which are runs of the
same program. What another run left in a folder would be taken for one of these: CRITERION_HOME names a new one.
"""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path


def samples(folder):
    """(id, elements, least nanoseconds) of each benchmark in a folder."""
    for path in Path(folder).glob("**/new/sample.json"):
        benchmark = json.loads((path.parent / "benchmark.json").read_text())
        sample = json.loads(path.read_text())
        elements = (benchmark["throughput"] or {}).get("Elements", 1)
        least = min(time / calls for time, calls in zip(sample["times"], sample["iters"]))
        yield benchmark["full_id"], elements, least


def cpu():
    """The model, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    name = facts.get("model name", platform.machine()).strip()
    return f"{name}, family{facts.get('cpu family', ' ?')} model{facts.get('model', ' ?')}"


def said(*command):
    """The output of a program."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def by_numbers(name):
    """Numbers in names in their own order."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def main():
    command, folders = sys.argv[1], sys.argv[2:]
    if not folders:
        sys.exit(__doc__)
    least, elements = {}, {}
    for folder in folders:
        for name, count, nanoseconds in samples(folder):
            least[name] = min(nanoseconds, least.get(name, nanoseconds))
            elements[name] = count
    if not least:
        sys.exit(f"no results of criterion in {', '.join(folders)}")
    print(f"# {cpu()}, {platform.machine()}")
    print(f"# {said('rustc', '--version').split(' (')[0]}; {command}")
    print(f"# commit {said('git', 'describe', '--always', '--dirty')}")
    print(f"# the least of all samples of {len(folders)} run(s)")
    print("id,elements,nanoseconds")
    for name in sorted(least, key=by_numbers):
        print(f"{name},{elements[name]},{least[name]:.5g}")


if __name__ == "__main__":
    main()
