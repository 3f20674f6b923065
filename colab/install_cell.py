"""Installs what is missing: jaxseg from the checkout this notebook lies in, or from REPOSITORY; and Matplotlib."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

# jaxseg has no public address yet: set JAXSEG_REPOSITORY to what `git clone` takes, or write it here.
REPOSITORY = os.environ.get("JAXSEG_REPOSITORY", "")


def is_checkout(folder):
    """True for the root of a checkout of jaxseg."""
    project = folder / "pyproject.toml"
    return project.is_file() and 'name = "jaxseg"' in project.read_text(encoding="utf-8")


def clone(folder):
    """Clones REPOSITORY into `folder`, or says what must be set."""
    if not REPOSITORY:
        raise RuntimeError(
            f"jaxseg is not installed and {Path.cwd()} lies in no checkout of it. Put its address into REPOSITORY above, or "
            'run os.environ["JAXSEG_REPOSITORY"] = "https://..." first; or open the notebook inside a checkout.'
        )
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", REPOSITORY, str(folder)], check=True)
    return folder


def pinned():
    """Returns the JAX that is there, for pip to leave it: another would not fit the runtime's plugin for its TPU or GPU."""
    return [f"{name}=={version(name)}" for name in ("jax", "jaxlib") if find_spec(name)]


def install():
    """Calls pip for what cannot be imported; where all is there, does nothing."""
    wanted = [] if find_spec("matplotlib") else ["matplotlib>=3.9"]
    found = find_spec("jaxseg")
    if found is None or found.origin is None:  # a folder that is only named jaxseg has no origin
        here, cloned = Path.cwd(), Path.cwd() / "jaxseg-checkout"
        checkout = next((folder for folder in (here, *here.parents, cloned) if is_checkout(folder)), None) or clone(cloned)
        wanted += ["-e", str(checkout), *pinned()]
        sys.path.insert(0, str(checkout))  # a kernel that runs already does not see an editable installation
    if wanted:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)
        importlib.invalidate_caches()


install()
