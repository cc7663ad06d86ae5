"""From lists in arguments and seconds to tables and files."""

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys

from benchmarks.operations import step_multiply_adds

COLUMNS = (
    ("contestant", "{}"),
    ("images_per_second", "{:.1f}"),
    ("spread", "{:.2f}"),
    ("gflops", "{:.1f}"),
    ("share_of_peak", "{:.0%}"),
    ("peak_memory_mib", "{:.0f}"),
    ("first_step_seconds", "{:.1f}"),
    ("fit_overhead", "{:+.1%}"),
)


def summarize(timings, settings, batch_size, steps, peak_gflops):
    """Speed of one contestant.

    Args:
        timings: Dict with `seconds`, a list with one entry per round, and for
            our `fit` `bare_seconds`, the same of its compiled step alone; what
            else it holds is passed on.
        settings: A `Preset`.
        batch_size: int.
        steps: int, steps per round.
        peak_gflops: float, what the machine reaches in a matrix product.

    Returns:
        Dict: `timings`, the median of the rounds' images per second, their
        spread (the slowest round's over the fastest's, 1 at best), GFLOP/s of
        the operations that the method needs, their share of the peak, and what
        `fit` adds to the bare step, as a share of it.
    """
    seconds = timings["seconds"]
    images = batch_size * steps
    images_per_second = images / statistics.median(seconds)
    gflops = 2e-9 * step_multiply_adds(settings) * images_per_second
    summary = {
        **timings,
        "images_per_second": images_per_second,
        "spread": min(seconds) / max(seconds),
        "gflops": gflops,
        "share_of_peak": gflops / peak_gflops,
    }
    if "bare_seconds" in timings:
        # In pairs, since both of a round meet the same load of the machine.
        summary["fit_overhead"] = statistics.median(
            fit / bare - 1
            for fit, bare in zip(seconds, timings["bare_seconds"], strict=True)
        )
    return summary


def table(summaries):
    """Text of one line per contestant, the fastest first.

    Args:
        summaries: List of dicts, from `summarize`, with a `contestant`.

    Returns:
        str.
    """
    rows = [[name for name, _ in COLUMNS]]
    for summary in sorted(summaries, key=lambda s: -s["images_per_second"]):
        rows.append(
            [
                form.format(summary[name]) if name in summary else ""
                for name, form in COLUMNS
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


# === What the commands share ===


def names(text):
    """Names with commas between them, as an argument has them."""
    return text.split(",")


def counts(text):
    """Integers with commas between them, as an argument has them."""
    return [int(count) for count in text.split(",")]


def markdown(heads, rows):
    """A table in Markdown.

    Args:
        heads: Sequence of str.
        rows: List of sequences of as many str.

    Returns:
        str.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(path, document):
    """Writes what a table rests on.

    Args:
        path: `pathlib.Path` of a JSON file.
        document: Dict; what JSON has no type for becomes text.
    """
    text = json.dumps(document, indent=2, default=str)
    path.write_text(text + "\n")


def describe_machine():
    """Dict of what the machine is."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
    }


def _gpus():
    """Names of NVIDIA's GPUs, one each."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def peak_mib():
    """The most memory that the process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)
