"""Every public name says what it takes, what it raises, and is shown in an example that runs."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import sysid

NAMES = sorted(set(sysid.__all__) - {"MODELS"})
THINGS = {name: getattr(sysid, name) for name in NAMES}


def promised() -> set[tuple[type, str]]:
    """Return the public methods with the first class that has each: overrides keep its promise."""
    out = set()
    for thing in THINGS.values():
        for method in dir(thing) if inspect.isclass(thing) else ():
            ours = [c for c in thing.__mro__ if c.__module__.startswith("sysid.")]
            having = [c for c in ours if inspect.isroutine(vars(c).get(method))]
            if having and not method.startswith("_"):
                out.add((having[-1], method))
    return out


METHODS = sorted(promised(), key=lambda m: (m[0].__name__, m[1]))
IDS = [f"{cls.__name__}.{method}" for cls, method in METHODS]


def text(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def examples() -> str:
    """Return what is typed in the examples of all public names and methods."""
    docs = [*map(text, THINGS.values()), *(text(getattr(c, m)) for c, m in METHODS)]
    return "\n".join(
        line for d in docs for line in d.splitlines() if re.match(r" *(>>>|\.\.\.)", line)
    )


EXAMPLES = examples()


def parameters(function: Callable[..., Any]) -> list[str]:
    return [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]


def raises(function: Callable[..., Any]) -> bool:
    """Return whether an error is raised on the function's own lines."""
    function = inspect.unwrap(function)
    if function.__code__.co_filename == "<string>":  # of a dataclass
        return False
    lines, first = inspect.findsource(function)
    tree = ast.parse("".join(lines))
    (own,) = (
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef)
        and n.name == function.__name__
        and n.lineno - len(n.decorator_list) <= first + 1 <= n.lineno
    )
    return any(
        isinstance(n, ast.Raise) and not ast.unparse(n).startswith("raise NotImplementedError")
        for n in ast.walk(own)
    )


def explains(doc: str, function: Callable[..., Any]) -> None:
    if "rguments as for ``" not in doc:  # of a sibling, whose own are explained
        assert [p for p in parameters(function) if not re.search(rf"\b{p}\b", doc)] == []
        assert "Raises:" in doc or not raises(function)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_arguments_errors_and_an_example(name: str) -> None:
    thing = THINGS[name]
    assert ">>>" in text(thing)
    own = not inspect.isclass(thing) or (
        "__init__" in vars(thing) and not inspect.isabstract(thing)
    )
    if own:
        assert "Args:" in text(thing) or "rguments as for ``" in text(thing)
        explains(text(thing), thing.__init__ if inspect.isclass(thing) else thing)


@pytest.mark.parametrize(("cls", "method"), METHODS, ids=IDS)
def test_a_public_method_has_arguments_errors_and_an_example(cls: type, method: str) -> None:
    function = getattr(cls, method)
    assert text(function)
    explains(text(function), function)
    call = "model(" if method == "forward" else f".{method}("
    assert call in EXAMPLES or ">>>" in text(function)
