"""The arguments of the command line: which there are, and their parser.

Nothing here imports Keras or a backend: `--help` stays quick.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from keras_ssgan import __version__
from keras_ssgan import backends
from keras_ssgan.settings import presets
from keras_ssgan.text_files import print_error

# Generated images in a row.
COLUMNS = 5


class _Parser(argparse.ArgumentParser):
    """One that answers as the commands do, without a screen of usage."""

    def parse_known_args(self, args=None, namespace=None):
        # The parser of a command would leave it to that of all of them.
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message):
        print_error(f"{message}; see {self.prog} --help")
        self.exit(2)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; exits with code 2 where it cannot.

    Args:
        argv: List of arguments. Defaults to those of the process.

    Returns:
        `argparse.Namespace`, whose `command` is the name of the command.
    """
    parser = _Parser(
        prog="keras-ssgan",
        description="Semi-supervised GANs: classifiers from few labels.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", dest="command"
    )
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_generate(commands)
    _add_export(commands)
    _add_demo(commands)
    _add_benchmark(commands)
    return parser.parse_args(argv)


def _add_command(commands, name, help, one_backend=True):
    parser = commands.add_parser(name, help=help, description=help)
    if one_backend:
        parser.add_argument(
            "--backend",
            metavar="NAME",
            help=f"{', '.join(backends.BACKENDS)} (default: KERAS_BACKEND's, "
            "else Keras' own setting)",
        )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bar, results only"
    )
    return parser


def _add_train(commands):
    parser = _add_command(
        commands,
        "train",
        "Train a GAN and its classifier; the results go to a folder.",
    )
    named = " ".join(f"{name}: {text}" for name, text in presets().items())
    add = parser.add_argument
    add(
        "--dataset",
        help="digits (comes with scikit-learn), mnist, an .npz file, a folder "
        "of IDX files, a folder of shards train-*.npz and test*.npz, or a "
        "folder of images with a sub-folder per class and perhaps unlabeled/, "
        "or with train/ and test/ of such "
        "(default: mnist)",
    )
    add(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="leave the training images on disk and read them when they are "
        "needed (default: shards and folders of images of more than 1 GiB)",
    )
    add(
        "--preset",
        help=f"{named} (Default: article, which takes hours on a CPU.)",
    )
    add(
        "--labels",
        type=_labels,
        metavar="N",
        help="labels to keep, a share with a point (0.2; 1.0 is all) or a "
        "count (100); the others are hidden (default: the preset's, 20 %% or "
        "100; all, if some images have none)",
    )
    add(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share of the kept labels to hold out (default: 0.1)",
    )
    add("--epochs", type=int, metavar="N", help="default: the preset's")
    add("--batch-size", type=int, metavar="N", help="default: the preset's")
    add(
        "--labeled-per-batch",
        type=int,
        metavar="N",
        help="labelled images in a batch (default: the preset's share)",
    )
    add("--seed", type=_not_negative, metavar="N", help="default: 0")
    add(
        "--dtype",
        metavar="POLICY",
        help="float32, mixed_bfloat16 or mixed_float16 (default: float32)",
    )
    add(
        "--baseline",
        action=argparse.BooleanOptionalAction,
        help="also train the same network on the labelled images alone",
    )
    add(
        "--devices",
        type=_positive,
        metavar="N",
        help="devices of this process that share each batch (default: one; "
        "with --distribute, all)",
    )
    add(
        "--distribute",
        action="store_true",
        default=None,
        help="this is one of several processes, as its launcher's environment "
        "says (torchrun, KERAS_DISTRIBUTION_*)",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="also write events for TensorBoard, to tensorboard/ in the "
        "folder; needs the packages tensorflow and tensorboard",
    )
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: runs/DATASET-PRESET; must not exist or be empty, but "
        "with --resume",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with the run in --output from its last checkpoint",
    )
    add(
        "--checkpoint-every",
        type=_seconds,
        default=120.0,
        metavar="SECONDS",
        help="time between checkpoints; one after each epoch comes on top "
        "(default: 120)",
    )


def _add_evaluate(commands):
    parser = _add_command(
        commands, "evaluate", "Score a classifier on test images."
    )
    _add_model(parser)
    parser.add_argument(
        "--dataset",
        help="as for train (default: the run's; mnist for a .keras file)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="also write a report with pictures there; must not exist",
    )


def _add_predict(commands):
    parser = _add_command(
        commands,
        "predict",
        "Say which class images belong to, and how sure that is.",
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="folder of a run or a .keras file, or none for the classifier of "
        "MNIST's digits that comes with the package; then images: files, "
        "folders (searched with their sub-folders) or patterns such as "
        "'scans/*.png', read as grey",
    )
    add(
        "--as-is",
        action="store_true",
        help="leave the images as they are, in grayscale; otherwise what "
        "stands out from the paper, which has to fill the picture, is scaled "
        "and centred as the ink of the run's images, or, where those were no "
        "digits on an even ground, images are brought to their size",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON lines")
    output.add_argument(
        "--csv",
        action="store_true",
        help="print CSV, with a column of probabilities per class",
    )


def _add_generate(commands):
    parser = _add_command(
        commands, "generate", "Draw images with a trained GAN."
    )
    add = parser.add_argument
    add(
        "model",
        type=Path,
        nargs="?",
        help="folder of a run, or a .keras file of a GAN (default: one that "
        "draws MNIST's digits and comes with the package)",
    )
    add(
        "--count",
        type=_positive,
        help="images (default: 25); with --interpolate, those to go between "
        "(default: 5)",
    )
    add(
        "--columns",
        type=_positive,
        metavar="N",
        help=f"images in a row (default: {COLUMNS})",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--interpolate",
        type=_positive,
        metavar="STEPS",
        help="go from image to image and back to the first, each in so many "
        "steps, which make a row; animated if --output ends in .gif",
    )
    what.add_argument(
        "--by-class",
        action="store_true",
        help="a row for each class, of images that the classifier gives at "
        "least 90%% to it; of 10,000 images at most",
    )
    add("--seed", type=_not_negative, help="default: another one every time")
    add(
        "--output",
        type=Path,
        default=Path("samples.png"),
        metavar="FILE",
        help="picture to write; must not exist (default: samples.png)",
    )


def _add_export(commands):
    parser = _add_command(
        commands,
        "export",
        "Write a classifier for other runtimes; each is run to compare.",
    )
    _add_model(parser)
    add = parser.add_argument
    add(
        "--formats",
        type=_names,
        default=["keras", "onnx", "saved_model"],
        metavar="NAMES",
        help="of keras, onnx, saved_model, litert, litert_int8, openvino and "
        "torch, with commas (default: keras,onnx,saved_model)",
    )
    add(
        "--dataset",
        help="as for train; 1,000 of its test images, or a few more, taken "
        "from everywhere, are compared on (default: the run's; noise for a "
        ".keras file)",
    )
    add(
        "--generator",
        action="store_true",
        help="also write the generator, as ONNX",
    )
    add("--overwrite", action="store_true", help="replace files that are there")
    add(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="what the files' names begin with",
    )


def _add_demo(commands):
    parser = _add_command(
        commands,
        "demo",
        "Serve a page, to this machine alone, where you draw and it reads.",
    )
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        type=Path,
        help="folder of a run, a .keras file of a GAN, or an .onnx file that "
        "export wrote (default: models of MNIST's digits that come with the "
        "package)",
    )
    add(
        "--port",
        type=_not_negative,
        default=8000,
        help="0 for one that is free (default: 8000)",
    )
    add(
        "--no-open",
        action="store_true",
        help="leave opening the page to the user",
    )


def _add_benchmark(commands):
    parser = _add_command(
        commands,
        "benchmark",
        "Time training on this machine, by backend and dtype, in turns.",
        one_backend=False,
    )
    add = parser.add_argument
    add("--preset", default="compact", help="as for train (default: compact)")
    add(
        "--backends",
        type=_names,
        metavar="NAMES",
        help=f"of {', '.join(backends.BACKENDS)}, with commas (default: those "
        "that are installed)",
    )
    add(
        "--dtypes",
        type=_names,
        default=["float32"],
        metavar="POLICIES",
        help="as --dtype of train, with commas (default: float32)",
    )
    add("--batch-size", type=_positive, metavar="N", help="as for train")
    add(
        "--steps",
        type=_positive,
        default=20,
        metavar="N",
        help="in a turn (default: 20)",
    )
    add(
        "--rounds",
        type=_positive,
        default=3,
        metavar="N",
        help="turns of each (default: 3)",
    )
    add("--json", action="store_true", help="print JSON")


def _add_model(parser):
    parser.add_argument(
        "model", type=Path, help="folder of a run, or a .keras file"
    )


# === Types ===


def _labels(text):
    """A share if there is a decimal point, else a count."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a share such as 0.2 nor a count such as 100"
        ) from None


def _names(text):
    """Names with commas between them."""
    return text.split(",")


def _positive(text):
    return _at_least(1, text)


def _not_negative(text):
    return _at_least(0, text)


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    # NaN is not either.
    if not value >= 0:
        raise argparse.ArgumentTypeError("has to be at least 0")
    return value


def _at_least(least, text):
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no whole number"
        ) from None
    if value < least:
        raise argparse.ArgumentTypeError(f"has to be at least {least}")
    return value
