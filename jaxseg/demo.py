"""A page in the browser to try a trained network: ``python -m jaxseg.demo --workdir runs/setr-scenes``, then drop an image."""

import argparse
import contextlib
import importlib.util
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg import console
from jaxseg.config import Config
from jaxseg.demo_guard import Guard
from jaxseg.errors import InputError
from jaxseg.inference import load

EXAMPLE = """examples:
  python -m jaxseg.demo --workdir runs/setr-scenes
  python -m jaxseg.demo --workdir runs/unet-camvid --port 8000 --examples 0
  python -m jaxseg.demo --workdir runs/unet-camvid --checkpoint latest --set "scales=(0.75,1.0,1.25)" """

#: Of the page.
STYLE = Path(__file__).parent / "demo_page.css"

#: Pixels that an upload may have unless ``JAXSEG_MAX_PIXELS`` says otherwise: less than elsewhere, for anybody may send one.
MAX_PIXELS = 2**24

#: Ports that are tried one after the other where none is asked for.
PORTS = range(7860, 7960)

#: Uploads and results are deleted after so many seconds, and all of them at the end.
KEPT_SECONDS = 1800

#: What Gradio reads from the environment and the command says itself, or does not want.
_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_MCP_SERVER": "False",
}


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.demo", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    console.add_run_flags(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 serves the network; default: %(default)s"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"default: the first free one from {PORTS[0]}; 0 is any that is free"
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="also serve at a public address, through Gradio's tunnel, a program that the first --share downloads from Hugging "
        "Face; whoever knows the address can use it",
    )
    parser.add_argument(
        "--examples", type=int, default=4, metavar="N", help="validation images of the run's data to offer; default: %(default)s"
    )
    parser.add_argument(
        "--max-mb", type=int, default=64, metavar="MB", help="size that an uploaded file may have; default: %(default)s"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        if args.examples < 0:
            raise InputError(f"--examples {args.examples} must be at least 0; 0 offers none.")
        if args.max_mb < 1:
            raise InputError(f"--max-mb {args.max_mb} must be at least 1: it is the size that an upload may have.")
        require_gradio()
        port = free_port(args.host, args.port)
        console.use_compilation_cache()
        os.environ.setdefault("JAXSEG_MAX_PIXELS", str(MAX_PIXELS))
        predictor = load(args.workdir, checkpoint=args.checkpoint, overrides=tuple(args.set), trusted=tuple(args.trust))
        examples = find_examples(predictor.config, args.examples)
        max_bytes = args.max_mb * 2**20
        with tempfile.TemporaryDirectory(prefix="jaxseg-demo-", ignore_cleanup_errors=True) as folder:
            os.environ.update(_ENVIRONMENT, GRADIO_TEMP_DIR=folder, GRADIO_EXAMPLES_CACHE=f"{folder}/examples")
            pages: Any = importlib.import_module("jaxseg.demo_page")  # Gradio reads the environment when it is imported
            page = pages.Page(predictor, args.workdir.resolve().name, examples, Path(folder), max_bytes).build()
            serve(page, Path(folder), host=args.host, port=port, share=args.share, max_bytes=max_bytes)


def require_gradio() -> None:
    """Check that the extra is installed.

    Raises:
        InputError: if it is not, with the command that installs it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("The demo page needs Gradio: pip install 'jaxseg[demo]'.")


def free_port(host: str, wanted: int | None) -> int:
    """Return a port on which can be listened.

    Args:
        host: to listen at.
        wanted: ``None`` for the first free one of :data:`PORTS`, 0 for any.

    Raises:
        InputError: for one that is taken or not allowed, or a host that is not this one's.
    """
    if wanted is not None and not 0 <= wanted < 2**16:
        raise InputError(f"--port {wanted} must be from 1 to {2**16 - 1}, or 0 for any that is free.")
    problem = ""
    for port in PORTS if wanted is None else (wanted,):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                return listener.getsockname()[1]
        except socket.gaierror as error:
            raise InputError(
                f"--host {host} is no address of this machine ({error.strerror}). Leave it out, or give 0.0.0.0."
            ) from None
        except OSError as error:
            problem = error.strerror or str(error)
    named = f"--port {wanted}" if wanted is not None else f"Each port from {PORTS[0]} to {PORTS[-1]}"
    raise InputError(f"{named} of {host} cannot be used ({problem}). Give another --port, or 0 for any that is free.")


def find_examples(config: Config, count: int) -> list[tuple[str, np.ndarray]]:
    """Return names and images from the split that training evaluated, evenly spaced; none where it cannot be read."""
    if not count:
        return []
    try:
        split = config.data.split(config.eval_split)
        indices = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
        found = [split[int(i)] for i in indices]
    except (InputError, ImportError, OSError) as error:
        console.status.print(f"examples     none: {error}", markup=False)
        return []
    return [(example["name"], example["image"]) for example in found]


def serve(page: Any, folder: Path, *, host: str, port: int, share: bool, max_bytes: int) -> None:
    """Serve the page until a signal, deleting meanwhile what has grown old.

    Args:
        page: Gradio's blocks.
        folder: of temporary files; those that are there already are kept to the end.
        host: to listen at.
        port: to listen at.
        share: whether to open a tunnel to a public address.
        max_bytes: that an upload may have.

    Raises:
        InputError: if there is no public address where one is asked for.
    """
    gradio: Any = importlib.import_module("gradio")
    middleware: Any = importlib.import_module("starlette.middleware").Middleware
    kept = set(folder.rglob("*"))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    _, address, public = page.launch(
        server_name=f"[{host}]" if ":" in host else host,  # as addresses of the web write IPv6
        server_port=port,
        share=share,
        max_file_size=max_bytes,
        theme=theme(gradio),
        css=STYLE.read_text(),
        app_kwargs={"middleware": [middleware(Guard, max_upload=max_bytes)], "openapi_url": None},
        footer_links=[],
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        state_session_capacity=64,
    )
    if share and not public:
        page.close(verbose=False)
        raise InputError(
            "No public address could be had from Gradio for --share: its tunnel or the download of its program was not "
            "reached. Check the connection, or leave --share out and give --host 0.0.0.0 to serve this network."
        )
    for where in (address, *([public] if public else [])):
        console.results.print(f"demo         {where}  (Ctrl-C ends it)")
    while not stopped.wait(60):
        sweep(folder, kept, KEPT_SECONDS)
    page.close(verbose=False)


def theme(gradio: Any) -> Any:
    """Return Gradio's own theme with the system's fonts, and with colours that contrast enough to be read."""
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
    return gradio.themes.Default(primary_hue="indigo", **fonts).set(
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300"
    )


def sweep(folder: Path, kept: Collection[Path], seconds: float) -> None:
    """Delete the files in a folder that have not been changed for so long, except those that are kept, and empty folders."""
    oldest = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        with contextlib.suppress(OSError):
            if path not in kept and path.lstat().st_mtime < oldest:
                path.rmdir() if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
