"""Writes docs/api.md, the API reference, from the docstrings.

    python docs/reference.py

The docstrings are Google's style: sections such as `Args:` become lists, and
everything else is taken as it is.
"""

import importlib
import inspect
import re
from pathlib import Path

import keras

import keras_ssgan

PAGE = Path(__file__).with_name("api.md")
# What a module has in public, where that is not all that it defines.
_NAMES = {
    "keras_ssgan": [
        "SemiSupervisedGAN",
        "presets",
        "export_classifier",
        "export_generator",
        "InputError",
    ],
    "keras_ssgan.settings": ["Preset", "get_preset"],
    "keras_ssgan.distribution": ["scope"],
    "keras_ssgan.config": ["Config"],
    "keras_ssgan.training": ["train"],
}
_MODULES = (
    "keras_ssgan",
    "keras_ssgan.datasets",
    "keras_ssgan.networks",
    "keras_ssgan.losses",
    "keras_ssgan.layers",
    "keras_ssgan.augmentation",
    "keras_ssgan.callbacks",
    "keras_ssgan.plotting",
    "keras_ssgan.propagation",
    "keras_ssgan.evaluation",
    "keras_ssgan.calibration",
    "keras_ssgan.settings",
    "keras_ssgan.distribution",
    "keras_ssgan.config",
    "keras_ssgan.training",
)
_HEAD = """\
# API reference

Written by `python docs/reference.py` from the docstrings; do not edit it.
`ks` is `import keras_ssgan as ks`; other modules are imported by their names.
"""
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):$", re.M)
# Where Keras keeps a class, as the annotations of the signatures print it.
_PRIVATE_PATH = re.compile(r"keras\.src\.[\w.]*\.(\w+)")
_WIDTH = 80


def public_objects():
    """Everything in the reference.

    Returns:
        Dict from module name to a dict from name to class or function.
    """
    objects = {}
    for module_name in _MODULES:
        module = importlib.import_module(module_name)
        names = _NAMES.get(module_name) or getattr(module, "__all__", None)
        objects[module_name] = {
            name: getattr(module, name)
            for name in names or _defined_names(module)
        }
    return objects


def _defined_names(module):
    """Public classes and functions of a module, in the order of the file."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def members(cls):
    """Methods and properties that a class adds, or documents anew.

    Args:
        cls: A class.

    Returns:
        Dict from name to function or property. A method that only overrides
        one of a base class, and has no docstring, is left to that class.
    """
    found = {}
    for name, value in vars(cls).items():
        value = getattr(value, "__func__", value)
        if name.startswith("_") or not (
            inspect.isfunction(value) or isinstance(value, property)
        ):
            continue
        if value.__doc__ or not overrides(cls, name):
            found[name] = value
    return found


def overrides(cls, name):
    """Whether a base class has that name.

    Args:
        cls: A class.
        name: Name of one of its members.

    Returns:
        bool.
    """
    return any(hasattr(base, name) for base in cls.__bases__)


def write_reference():
    """The reference.

    Returns:
        str, Markdown.
    """
    parts = [_HEAD]
    for module_name, objects in public_objects().items():
        module = importlib.import_module(module_name)
        _, _, submodule = module_name.partition(".")
        short = module_name
        if not submodule or submodule in keras_ssgan.__all__:
            short = module_name.replace("keras_ssgan", "ks", 1)
        parts.append(f"## {module_name}\n")
        parts.append(inspect.getdoc(module).splitlines()[0] + "\n")
        for name, value in objects.items():
            parts.append(_entry("###", f"{short}.{name}", value))
            if inspect.isclass(value):
                for member, function in members(value).items():
                    parts.append(_entry("####", f"{name}.{member}", function))
    return "\n".join(parts)


def _entry(level, name, value):
    lines = [f"{level} `{name}`\n"]
    if not isinstance(value, property):
        lines.append(_signature(name, value) + "\n")
    lines.append(_to_markdown(inspect.cleandoc(value.__doc__)) + "\n")
    return "\n".join(lines)


def _signature(name, value):
    """The call as an indented block, a line per argument if it is long."""
    # A class without a constructor of its own has its base's arguments.
    if inspect.isclass(value) and "__init__" not in vars(value):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        return f"    class {name}({bases})"
    parameters = [
        _PRIVATE_PATH.sub(_public_path, str(parameter))
        for parameter in inspect.signature(value).parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    line = f"    {name}({', '.join(parameters)})"
    if len(line) <= _WIDTH:
        return line
    arguments = "".join(f"        {parameter},\n" for parameter in parameters)
    return f"    {name}(\n{arguments}    )"


def _public_path(match):
    """Of a class in Keras, as users import it, such as `keras.Model`."""
    name = match[1]
    for module in (keras, keras.optimizers.schedules):
        if hasattr(module, name):
            return f"{module.__name__}.{name}"
    raise ValueError(f"{match[0]} has no public name in `keras`")


def _to_markdown(docstring):
    text, *sections = _SECTION.split(docstring)
    parts = [text.rstrip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body = inspect.cleandoc(body)
        if title == "Example" and body.startswith(">>>"):
            body = f"```pycon\n{body}\n```"
        elif title in ("Args", "Attributes", "Raises"):
            # An item begins where the indentation ends.
            body = re.sub(
                r"^([*\w.]+): ", lambda m: f"- `{m[1]}`: ", body, flags=re.M
            )
            body = re.sub(r"^ {4}", "  ", body, flags=re.M)
        parts.append(f"**{title}**\n\n{body}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(write_reference(), encoding="utf-8")
