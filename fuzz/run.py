"""Runs the parsers on mutated files and writes what came of it.

```sh
python -m fuzz.run --target all --inputs 10000 --seed 0 --output report.json
```

Each target runs in a process of its own, whose address space is bounded, so
that a crash of native code or a hunger for memory is a finding, and no more.
"""

import argparse
import collections
import json
import logging
import multiprocessing
import os
import platform
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from fuzz.mutate import mutate
from fuzz.targets import TARGETS
from keras_ssgan.errors import InputError

# Of the processor, the longest that one input may take.
_SECONDS = 1.0

# Findings of one target that are described; the others are counted.
_DESCRIBED = 10


def check(name, content, folder):
    """Runs one input.

    Args:
        name: Name of the target.
        content: Bytes.
        folder: `pathlib.Path` of a folder that nothing else writes to.

    Returns:
        What came of it: `"accepted"` or `"refused"`.

    Raises:
        AssertionError: If the refusal is not one line.
        Exception: Whatever the parser raises beyond `InputError`.
    """
    try:
        TARGETS[name].parse(content, folder)
    except InputError as error:
        assert len(str(error).splitlines()) == 1, f"not one line: {error!r}"
        return "refused"
    return "accepted"


def run_target(name, num_inputs, seed):
    """Runs one target on mutated inputs, in this process.

    Args:
        name: Name of the target.
        num_inputs: int.
        seed: int.

    Returns:
        Dict of counts and findings.
    """
    target = TARGETS[name]
    rng = random.Random(f"{name} {seed}")
    seeds = target.seeds()
    counts, findings = collections.Counter(), []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for content in seeds:
            # Imports and caches are no growth.
            assert check(name, content, folder), name
        start_memory = _peak()
        last = Path(os.environ.get("FUZZ_LAST", folder / "last"))
        for index in range(num_inputs):
            content = mutate(seeds, rng)
            if target.inputs < 1:
                # Should native code crash, this is the input.
                last.write_bytes(content)
            signal.setitimer(signal.ITIMER_REAL, 10 * _SECONDS)
            start = time.process_time()
            try:
                result = check(name, content, folder)
            except Exception as error:
                result = "crashed"
                _describe(findings, name, index, content, error)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            seconds = time.process_time() - start
            slowest = max(slowest, seconds)
            counts[result] += 1
            if seconds > _SECONDS:
                counts["hung"] += 1
                _describe(findings, name, index, content, f"{seconds:.1f} s")
    grown = (_peak() - start_memory) / 1e6
    return {
        "inputs": num_inputs,
        "accepted": counts["accepted"],
        "refused": counts["refused"],
        "crashed": counts["crashed"],
        "hung": counts["hung"],
        "slowest_seconds": round(slowest, 3),
        "limit_seconds": _SECONDS,
        "grown_megabytes": round(grown, 1),
        "limit_megabytes": target.megabytes,
        "within_memory": grown <= target.megabytes,
        "findings": findings,
    }


def _describe(findings, name, index, content, error):
    if len(findings) < _DESCRIBED:
        text = error
        if isinstance(error, Exception):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            text = f"{type(error).__name__} at {place}: {error}"[:300]
        findings.append(
            {"input": index, "error": text, "content": content[:2000].hex()}
        )


def _peak():
    """Most bytes of memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _alarm(*_):
    raise TimeoutError("it hangs")


def _work(connection, name, num_inputs, seed):
    signal.signal(signal.SIGALRM, _alarm)
    target = TARGETS[name]
    target.seeds()
    space = _address_space() + target.megabytes * 10**6
    # Bounds what is only asked for, too.
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    warnings.simplefilter("ignore")
    logging.disable()
    connection.send(run_target(name, num_inputs, seed))


def _address_space():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    # Threads of the backend, each with its arena, come with the first model.
    return pages * resource.getpagesize() + (4 << 30)


def run_in_process(name, num_inputs, seed):
    """Runs one target in a process of its own.

    Args:
        name: Name of the target.
        num_inputs: int.
        seed: int.

    Returns:
        Dict as from `run_target`; `{"died": exit code}` and the number of
        inputs where the process did not live to tell.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(sender, name, num_inputs, seed)
    )
    process.start()
    sender.close()
    try:
        report = receiver.recv()
    except EOFError:
        report = None
    process.join()
    return report or {"inputs": num_inputs, "died": process.exitcode}


def main():
    """Runs the targets and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    known = f"all, or some of {', '.join(TARGETS)}"
    add("--target", default=["all"], nargs="+", help=known)
    add("--inputs", type=int, default=10_000, help="of a quick target")
    add("--seed", type=int, default=0)
    add("--output", type=Path, help="JSON to write, beside what is printed")
    arguments = parser.parse_args()
    names = TARGETS if arguments.target == ["all"] else arguments.target
    report = {}
    for name in names:
        num_inputs = max(1, round(arguments.inputs * TARGETS[name].inputs))
        report[name] = run_in_process(name, num_inputs, arguments.seed)
        line = {k: v for k, v in report[name].items() if k != "findings"}
        print(name, json.dumps(line), flush=True)
        for finding in report[name].get("findings", [])[:3]:
            print("   ", finding["error"], flush=True)
    if arguments.output:
        total = sum(entry["inputs"] for entry in report.values())
        head = {"seed": arguments.seed, "inputs": total}
        head["python"] = platform.python_version()
        head["backend"] = os.environ.get("KERAS_BACKEND", "")
        content = json.dumps({**head, "targets": report}, indent=1)
        arguments.output.write_text(content + "\n")


if __name__ == "__main__":
    main()
