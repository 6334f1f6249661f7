"""Packages as pip would have installed them into a directory, each with notifiers of taskwatch."""

from pathlib import Path
from textwrap import dedent


def install(directory: Path, package: str, module: str, **types: str) -> None:
    """Write a package of one module of its name; `types` are names of its classes, by what `type:` calls them."""
    name = package.replace("-", "_")
    (directory / f"{name}.py").write_text(dedent(module), "utf-8")
    metadata = directory / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    entries = "".join(f"{kind} = {name}:{found}\n" for kind, found in types.items())
    (metadata / "entry_points.txt").write_text(f"[taskwatch.notifiers]\n{entries}")
