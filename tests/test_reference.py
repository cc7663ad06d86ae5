"""The API reference is up to date, and the docstrings it is made of whole."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_backend

_PATH = Path(__file__).parents[1] / "docs" / "reference.py"
_spec = importlib.util.spec_from_file_location("reference_script", _PATH)
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


def _entries():
    """`(name, object, whether what it overrides has the arguments)`."""
    for module, objects in reference.public_objects().items():
        for name, value in objects.items():
            yield f"{module}.{name}", value, False
            if inspect.isclass(value):
                for member, function in reference.members(value).items():
                    yield (
                        f"{module}.{name}.{member}",
                        function,
                        reference.overrides(value, member),
                    )


_ENTRIES = list(_entries())
_IDS = [name for name, _, _ in _ENTRIES]


def _parameters(value):
    if isinstance(value, property):
        return []
    # Without a constructor of its own, a class has its base's arguments.
    if inspect.isclass(value) and "__init__" not in vars(value):
        return []
    return [
        str(parameter).partition(":")[0].partition("=")[0]
        for parameter in inspect.signature(value).parameters.values()
        if parameter.name not in ("self", "cls")
    ]


def _documented(value):
    """Names in `Args:`, or for a dataclass in `Attributes:`, in their order."""
    title = "Attributes" if hasattr(value, "__dataclass_fields__") else "Args"
    section = re.search(
        rf"^{title}:\n(.*?)(?=^\S|\Z)",
        inspect.cleandoc(value.__doc__),
        re.DOTALL | re.MULTILINE,
    )
    return re.findall(r"^    ([*\w]+): ", section[1], re.M) if section else []


def test_the_page_is_what_the_script_writes():
    page = reference.PAGE.read_text(encoding="utf-8")
    assert page == reference.write_reference(), "run python docs/reference.py"


@pytest.mark.parametrize(("name", "value", "overrides"), _ENTRIES, ids=_IDS)
def test_every_public_name_documents_its_arguments(name, value, overrides):
    assert value.__doc__ and value.__doc__.strip()
    documented = _documented(value)
    # An override may leave them to the docstring of the base class.
    if documented or not overrides:
        assert documented == _parameters(value)


def test_every_public_name_of_the_package_has_an_entry():
    import keras_ssgan

    objects = reference.public_objects()
    for name in keras_ssgan.__all__:
        module = f"keras_ssgan.{name}"
        assert objects.get(module) or name in objects["keras_ssgan"], name


def test_signatures_name_classes_of_keras_as_users_import_them():
    page = reference.PAGE.read_text(encoding="utf-8")
    assert "discriminator: keras.Model" in page
    assert "keras.src" not in page
