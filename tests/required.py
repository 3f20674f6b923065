"""What some tests need beyond the extra ``test``: without it they are skipped, or fail where ``JAXSEG_PARITY=1``, as in CI."""

import importlib
import os

import pytest

#: Where this is set, what CI installs must be there: a comparison that is skipped has not passed.
IN_CI = os.environ.get("JAXSEG_PARITY") == "1"


def import_or_skip(name, *, why, in_ci=True):
    """Import a package, or skip the file that asks; in CI one that CI installs and that is missing is an error."""
    if IN_CI and in_ci:
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed; {why}", exc_type=ImportError)


def found_or_skip(found, name, *, why):
    """Return what was found, if anything was, or skip the file that asks; in CI it is an error that nothing was."""
    if not found:
        if IN_CI:
            raise FileNotFoundError(f"{name} is not installed; {why}")
        pytest.skip(f"{name} is not installed; {why}", allow_module_level=True)
    return found
