"""`make mutants`: bugs planted in the engine's statements, each of which the model must find.

Every `.patch` here is applied to a copy of the tree, alone, and the semantic tests run there: they
must fail with a difference between engine and model, or at a constraint of the schema.  Exit 1 when one survives or does not apply."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent
ASKED = ["tests/semantics", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly"]
ASKED += ["--hypothesis-seed=3"]  # the same games each time
DIFFERENCES = ("AssertionError", "CheckViolation")


def main() -> int:
    """The number of mutants that were not found, as an exit code."""
    patches = sorted(PATCHES.glob("*.patch"))
    survivors = [patch.stem for patch in patches if not killed(patch)]
    print(f"{len(patches) - len(survivors)} of {len(patches)} mutants were found")
    return 1 if survivors or not patches else 0


def killed(patch: Path) -> bool:
    """Whether the semantic tests notice this patch; says so."""
    with tempfile.TemporaryDirectory(prefix="mr-mutant-") as folder:
        copy_tree(Path(folder))
        applied = run(["git", "apply", "--unsafe-paths", f"--directory={folder}", str(patch)])
        if applied.returncode:
            print(f"{patch.stem}: does not apply any more: {applied.stderr.strip()}")
            return False
        tests = run([sys.executable, "-m", "pytest", *ASKED], cwd=folder)
    found = tests.returncode == 1 and any(error in tests.stdout for error in DIFFERENCES)
    print(f"{patch.stem}: {'found' if found else 'NOT FOUND'}")
    if not found:
        print(tests.stdout[-3000:], tests.stderr[-1000:])
    return found


def copy_tree(folder: Path) -> None:
    """The tree as git would keep it, without the environment and the data."""
    listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def run(argv: list[str], cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
    """A command's end, with what it said."""
    env = {name: value for name, value in os.environ.items() if name not in ("DATA_DIR", "CI")}
    env["SEMANTIC_EXAMPLES"] = "500"  # rare coincidences are what they are about
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
