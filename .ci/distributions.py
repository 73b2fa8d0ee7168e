"""Checks built distributions: python .ci/distributions.py FOLDER_OF_SDIST_AND_ITS_WHEEL FOLDER_OF_WHEEL_OF_TREE."""

import sys
import tarfile
import zipfile
from pathlib import Path

IN_SDIST = {
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "README.md",
    "configuration.json",
    "constraints.txt",
    "tests/conftest.py",
}
IN_WHEEL = {"py.typed", "configuration.json", "LICENSE", "data/sample/LICENSE"} | {
    f"data/sample/{name}.jsonl" for name in ("entities", "train", "dev", "test")
}


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel; RECORD follows from the others, and its order does not matter."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def main(built: Path, from_tree: Path) -> None:
    """Fail where something is missing, or where the sdist makes another wheel than the tree."""
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    (tree_wheel,) = from_tree.glob("*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    files = contents(wheel)
    missing = [*IN_SDIST - in_sdist, *({f"modelscope_plugin/{name}" for name in IN_WHEEL} - set(files))]
    missing += [] if any(name.endswith(".dist-info/licenses/LICENSE") for name in files) else ["licenses/LICENSE"]
    assert not missing, f"missing from {built}: {sorted(missing)}"
    other = contents(tree_wheel)
    differing = sorted(name for name in files.keys() | other.keys() if files.get(name) != other.get(name))
    assert not differing, f"{wheel} and {tree_wheel} differ in {differing}"
    print(f"{sdist.name} and {wheel.name}: complete, {len(files)} files, the same from sdist and tree")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
