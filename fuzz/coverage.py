"""Runs a parser under Atheris, which looks for inputs that reach new code.

Atheris (`pip install atheris`) is needed for this alone. Options of libFuzzer
come after the target and the folder of the corpus:

```sh
python -m fuzz.coverage npz fuzz/corpus/npz -max_total_time=60 -max_len=4096
```

It is of use where parsers are Python's: of JSON, parsed in C, it reaches no new
code.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["keras_ssgan", "PIL", "zipfile"]):
    from fuzz.run import check
    from fuzz.targets import TARGETS
    from keras_ssgan import datasets  # noqa: F401


def main():
    """Fuzzes one target; an exception ends it, as libFuzzer does."""
    name, corpus, *options = sys.argv[1:]
    corpus = Path(corpus)
    corpus.mkdir(parents=True, exist_ok=True)
    for index, content in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed_{index}").write_bytes(content)
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        atheris.Setup(
            [sys.argv[0], str(corpus), *options],
            lambda content: check(name, content, folder) and None,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
