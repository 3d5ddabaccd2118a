"""The layers of the code: which package may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shoal

ORDER = "daemon daemon_flags cli ui stack machine api node manager agent engine network store ca wire model kit".split()  # noqa: SIM905
CLIENT = {"cli", "ui", "stack", "machine"}
SOURCE = Path(shoal.__file__).parent
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if "pb" not in path.relative_to(SOURCE).parts[:-1]]


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports_of(path: Path) -> set[str]:
    """Dotted names below `shoal` that the file imports anywhere, type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("shoal.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards(path: Path) -> None:
    """A module imports only from packages below its own; the client side only from api.client, model and kit."""
    own = package_of(path)
    if own == "__init__":
        return
    for name in imports_of(path):
        other = name.split(".")[1]
        if other not in ORDER or other == own:
            continue
        assert ORDER.index(other) > ORDER.index(own), f"{path.relative_to(SOURCE)} imports {name}"
        if own in CLIENT and other not in CLIENT | {"model", "kit"}:
            assert name.startswith("shoal.api.client"), f"{path.relative_to(SOURCE)} (client side) imports {name}"


def test_every_package_is_in_the_order() -> None:
    """A new package has its place in the order, and says in its docstring what lives there."""
    for folder in SOURCE.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert folder.name in ORDER
            assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
