"""The public names of a package, each imported when it is first asked for (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def of(
    package: str, modules: Mapping[str, str], names: dict[str, Any], *, below: str = "policy_router"
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return what a package has as ``__getattr__`` and ``__dir__``.

    Args:
        package: the package's name.
        modules: each public name, and the module that has it.
        names: the package's globals; a name is kept there once it is imported.
        below: the package that the modules are named from.
    """

    def imported(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = names[name] = getattr(import_module(f"{below}.{modules[name]}"), name)
        return found

    return imported, lambda: sorted({*names, *modules})
