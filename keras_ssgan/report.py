"""A folder that says how good a classifier is, in numbers and pictures."""

import html
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_ssgan import calibration
from keras_ssgan import evaluation
from keras_ssgan import files
from keras_ssgan import plotting
from keras_ssgan.errors import InputError
from keras_ssgan.types import PathLike

# Mistakes that are shown.
MOST_MISTAKES = 35


def write_report(
    folder: PathLike,
    title: str,
    report: dict[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
) -> None:
    """Writes `report.md`, its pictures, and `report.json`.

    The pictures are `confusion.png`, `reliability.png` and, where there is a
    mistake, `mistakes.png`.

    Args:
        folder: Path that does not exist yet.
        title: What was classified by what, for people.
        report: Dict, as `evaluation.classification_report` gives it.
        images: uint8 array of shape `(n, height, width)` or `(n, height,
            width, channels)`.
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`.
        names: K names of the classes.

    Raises:
        InputError: If the folder cannot be made, or is there already.
    """
    folder = Path(folder)
    bins = calibration.reliability(labels, probabilities)
    for entry in bins:
        if entry["images"]:
            entry["interval"] = evaluation.wilson_interval(
                entry["correct"], entry["images"]
            )
    worst = worst_mistakes(labels, probabilities)[:MOST_MISTAKES]
    mistakes = [
        {
            "image": int(index),
            "class": names[labels[index]],
            "predicted": names[probabilities[index].argmax()],
            "probability": float(probabilities[index].max()),
        }
        for index in worst
    ]

    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made: {error.strerror}"
        ) from None
    content = {
        "title": title,
        "class_names": names,
        **report,
        "reliability": bins,
        "mistakes": mistakes,
    }
    try:
        _write(folder, content, images[worst])
    except BaseException:
        # A full disk, say: half a report is none.
        shutil.rmtree(folder)
        raise


def _write(folder, content, mistaken_images):
    plotting.confusion_matrix(
        content["confusion"], content["class_names"]
    ).save(folder / "confusion.png")
    plotting.reliability_diagram(
        content["reliability"],
        f"Calibration error {content['calibration_error']:.2%}",
    ).save(folder / "reliability.png")
    if content["mistakes"]:
        plotting.captioned_grid(
            mistaken_images, [_caption(entry) for entry in content["mistakes"]]
        ).save(folder / "mistakes.png")
    files.write_json(folder / "report.json", content)
    (folder / "report.md").write_text(_markdown(content), encoding="utf-8")


def worst_mistakes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Indices of the wrongly classified images, the surest mistakes first.

    Args:
        labels: Integer array of shape `(n,)` in `[0, K)`.
        probabilities: Float array of shape `(n, K)`.

    Returns:
        int64 array of as many indices as there are mistakes.
    """
    wrong = np.flatnonzero(np.argmax(probabilities, axis=-1) != labels)
    sureness = probabilities[wrong].max(axis=-1)
    return wrong[np.argsort(-sureness, kind="stable")]


def summary(report: dict[str, Any]) -> list[str]:
    """The figures of a report in a few lines, for a terminal or Markdown.

    Args:
        report: Dict, as `evaluation.classification_report` gives it.

    Returns:
        List of str.
    """
    low, high = report["accuracy_interval"]
    lines = [
        f"{report['accuracy']:.2%} correct ({report['errors']} errors in "
        f"{report['images']}), 95% interval {low:.2%} to {high:.2%}",
        _sureness(report),
    ]
    if report["temperature"] != 1:
        lines[1] += f" at temperature {report['temperature']:.3f}"
        lines.append(f"{_sureness(report['uncalibrated'])} without calibration")
    return lines


def class_table(
    report: dict[str, Any], names: Sequence[str]
) -> list[tuple[str, str, str, str]]:
    """Images, precision and recall of each class, as cells of text.

    Args:
        report: Dict, as `evaluation.classification_report` gives it.
        names: K names of the classes.

    Returns:
        List of tuples of str, the headings first.
    """
    rows = [("class", "images", "precision", "recall")]
    for name, counts, precision, recall in zip(
        names,
        report["confusion"],
        report["precision"],
        report["recall"],
        strict=True,
    ):
        rows.append(
            (name, str(sum(counts)), _percent(precision), _percent(recall))
        )
    return rows


def _sureness(report):
    return (
        f"negative log-likelihood {report['log_loss']:.4f}, calibration error "
        f"{report['calibration_error']:.2%}"
    )


def _percent(share):
    return "-" if share is None else f"{share:.2%}"


def _caption(mistake):
    return (
        f"said {mistake['predicted']}",
        f"is {mistake['class']}",
        f"{mistake['probability']:.1%} sure, #{mistake['image']}",
    )


def _markdown(content):
    names = [_escape(name) for name in content["class_names"]]
    head, *rows = class_table(content, names)
    table = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    lines = [f"# {_escape(content['title'])}", ""]
    lines += [f"- {line}" for line in summary(content)]
    lines += ["", *("| " + " | ".join(row) + " |" for row in table)]
    lines += ["", "## Confusion", "", "![Confusion matrix](confusion.png)"]
    lines += [
        "",
        "## How sure it is",
        "",
        "![Correct images by the probability that was said](reliability.png)",
        "",
        "Each bar is the share of correct images among those whose class got a "
        "probability in its interval, each mark the mean of these "
        "probabilities: calibrated is a classifier whose marks end the bars. "
        "The calibration error is the mean distance between the two, over the "
        "images (C. Guo et al., *On Calibration of Modern Neural Networks*, "
        "2017; 15 bins).",
        "",
        "## Mistakes",
        "",
    ]
    if content["mistakes"]:
        lines += [
            f"The surest {len(content['mistakes'])} of {content['errors']}: "
            "what the classifier said, what it is, how sure the classifier "
            "was, and the number of the test image, from 0.",
            "",
            "![The surest mistakes](mistakes.png)",
        ]
    else:
        lines.append("There are none.")
    return "\n".join(lines) + "\n"


def _escape(text):
    """Makes text stand for itself in Markdown, in cells of tables, too."""
    return re.sub(r"[\\`*_\[\]|~]", r"\\\g<0>", html.escape(text, quote=False))
