"""Weights from the Hugging Face Hub: ``hf://owner/repo``, ``hf://owner/repo/file`` or ``hf://owner/repo@revision``."""

import importlib
from pathlib import Path, PurePosixPath
from typing import Any

from jaxseg.errors import InputError
from jaxseg.weights.readers import ENDINGS, IN_A_FOLDER

PREFIX = "hf://"

#: Files beside the weights that say how images are to be prepared.
BESIDE = ("config.json", "preprocessor_config.json")


def download(address: str) -> Path:
    """Fetch a file of weights, all shards of one, and what says how images are to be prepared.

    What was fetched before is taken from the client's cache, also where the Hub cannot be reached.

    Args:
        address: of a repository, for the file that is best of those it has, or of a file in it.

    Returns:
        The file, in the client's cache.

    Raises:
        InputError: without the client, for an address that is none, or where the Hub has no such thing or cannot be reached.
    """
    try:
        client: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(f"{address} needs the client of the Hub: pip install 'jaxseg[hub]'.") from error
    repo, revision, file = _split(address)
    try:
        api = client.HfApi()
        names = _names(client, repo, revision)
        chosen = _choose(address, names, file)
        for name in names:
            if name in BESIDE or _is_shard(name, chosen):
                api.hf_hub_download(repo, name, revision=revision)
        return Path(api.hf_hub_download(repo, chosen, revision=revision))
    except InputError:
        raise
    except Exception as error:  # the client's errors, and those of the network under it, have no common class
        raise InputError(f"{address} cannot be fetched ({type(error).__name__}: {_first_line(error)}).") from error


def _split(address: str) -> tuple[str, str | None, str | None]:
    parts = address.removeprefix(PREFIX).split("/")
    if len(parts) < 2 or not all(parts):
        raise InputError(f"{address} is no address on the Hub: write hf://owner/repo, or hf://owner/repo/file.")
    name, _, revision = parts[1].partition("@")
    return f"{parts[0]}/{name}", revision or None, "/".join(parts[2:]) or None


def _names(client: Any, repo: str, revision: str | None) -> list[str]:
    """Return the names of the repository's files, or of those in the cache where the Hub cannot be asked."""
    try:
        return list(client.HfApi().list_repo_files(repo, revision=revision))
    except Exception:
        try:
            folder = Path(client.snapshot_download(repo, revision=revision, local_files_only=True))
        except Exception:  # nothing of it is in the cache: what the Hub said is the reason to give
            folder = None
        if folder is None:
            raise
        return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _choose(address: str, names: list[str], file: str | None) -> str:
    known = [name for name in names if name.endswith(ENDINGS)]
    if file is not None:
        if file not in names:
            raise InputError(f"{address}: there is no such file. The repository has {', '.join(known) or 'no weights'}.")
        return file
    found = [name for name in IN_A_FOLDER if name in names] or [name for name in known if "/" not in name]
    if not found or (len(found) > 1 and found[0] not in IN_A_FOLDER):
        raise InputError(f"{address}: which file? Give one of {', '.join(known) or 'none that is known'}.")
    return found[0]


def _is_shard(name: str, index: str) -> bool:
    """Say whether a file may be one of those an index lists: ``model-00001-of-00003.safetensors`` beside ``model....``."""
    if not index.endswith(".index.json"):
        return False
    stem = PurePosixPath(index).name.partition(".")[0]
    return PurePosixPath(name).parent == PurePosixPath(index).parent and PurePosixPath(name).name.startswith(f"{stem}-")


def _first_line(error: Any) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no reason given")
