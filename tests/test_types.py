"""Every public signature has all its types; mypy checks that they agree."""

import importlib
import inspect
import pkgutil

import pytest

import keras_ssgan

# No backend has a part in it.
pytestmark = pytest.mark.any_backend

# Between the model and the backends: nobody calls them but the package.
_INTERNAL = {"__main__", "autodiff", "optimizer"}
_MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(
        keras_ssgan.__path__, "keras_ssgan."
    )
    if name.split(".")[1] not in _INTERNAL
]


def _public_functions(module):
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.getmodule(value) is not module:
            continue
        if inspect.isclass(value):
            for method, function in vars(value).items():
                if not method.startswith("_") or method == "__init__":
                    function = getattr(function, "fget", function)
                    function = getattr(function, "__func__", function)
                    yield f"{name}.{method}", function
        else:
            yield name, value


def _untyped(function):
    """Names of the parameters without a type, and "return"."""
    signature = inspect.signature(inspect.unwrap(function))
    names = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty
        and parameter.name not in ("self", "cls")
    ]
    if signature.return_annotation is signature.empty:
        names.append("return")
    return names


@pytest.mark.parametrize("name", _MODULES)
def test_public_signatures_have_all_their_types(name):
    untyped = {
        name: _untyped(function)
        for name, function in _public_functions(importlib.import_module(name))
        if inspect.isfunction(function)
    }
    assert {key: names for key, names in untyped.items() if names} == {}
