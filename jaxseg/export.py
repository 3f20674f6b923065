"""Export a trained network to a file that needs no jaxseg: ``python -m jaxseg.export --workdir runs/unet-scenes``.

The file holds the network, its parameters and its preprocessing: stored pixel values go in, and the class of every pixel and its
probability come out. Beside it lies ``FILE.json``: class names, colours, sizes, normalisation, versions, checkpoint, checksum.

A StableHLO artifact is read by JAX alone, on CPU, GPU and TPU:

    import jax, jax.export
    network = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
    found = jax.jit(network.call)(images)  # (b, h, w, c) uint8; found["labels"], found["confidence"]

An ONNX artifact (``--format onnx``; made by jax2onnx: ``pip install 'jaxseg[onnx]'``) by any runtime of ONNX:

    import onnxruntime
    session = onnxruntime.InferenceSession("model.onnx")
    labels, confidence = session.run(["labels", "confidence"], {"images": images})

Both hold a program of array operations and its constants: no Python object, and no operation of jaxseg's own.

Before the file is kept it is read by a process of its own in which jaxseg cannot be imported, and compared with the predictor on
images of the run's data, or drawn ones: 1e-4 is allowed.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxseg import console
from jaxseg.checkpoints import Checkpoints
from jaxseg.errors import InputError
from jaxseg.exporting import comparison, description
from jaxseg.exporting.onnx import OPSET, to_onnx
from jaxseg.exporting.pipeline import DTYPES, OUTPUTS, SIZE_MULTIPLE, Signature, default_size, pipeline
from jaxseg.exporting.stablehlo import KNOWN_PLATFORMS, PLATFORMS, to_stablehlo
from jaxseg.inference import Predictor, load
from jaxseg.precision import dtypes

EXAMPLE = """examples:
  python -m jaxseg.export --workdir runs/unet-scenes
  python -m jaxseg.export --workdir runs/unet-scenes --size any --outputs labels probabilities
  python -m jaxseg.export --workdir runs/setr-scenes --format onnx --batch 1 --output setr.onnx"""

FORMATS = ("stablehlo", "onnx")


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.export", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=FORMATS, default="stablehlo", help="default: stablehlo")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: <workdir>/export/model.<format>")
    parser.add_argument(
        "--size",
        nargs="+",
        metavar="N",
        help=f"height and width of the images, or 'any' for all multiples of {SIZE_MULTIPLE} (StableHLO, where the network "
        "permits it); default: the run's image_size, window or crop_size",
    )
    parser.add_argument("--batch", type=int, metavar="N", help="number of images; default: open")
    parser.add_argument("--dtype", choices=list(DTYPES), help="of stored pixel values; default: that of the run's data, or uint8")
    parser.add_argument(
        "--outputs", nargs="+", choices=list(OUTPUTS), default=["labels", "confidence"], help="default: labels confidence"
    )
    parser.add_argument(
        "--platforms", nargs="+", choices=KNOWN_PLATFORMS, help=f"of StableHLO; default: {' '.join(PLATFORMS)}", metavar="NAME"
    )
    console.add_run_flags(parser)
    return parser


def parse_size(words: Sequence[str]) -> tuple[int, int] | None:
    """Return the height and width that ``--size`` gives, ``None`` for any.

    Raises:
        InputError: for anything but two whole numbers or ``any``.
    """
    if list(words) == ["any"]:
        return None
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise InputError(f"--size {' '.join(words)} must be a height and a width, such as --size 96 128, or any.")
    return int(words[0]), int(words[1])


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    # Lowering needs no device of a platform, and what is compared must round alike: an accelerator would be in the way.
    jax.config.update("jax_platforms", "cpu")
    with console.reporting_errors():
        console.use_compilation_cache()
        output = args.output or args.workdir / "export" / f"model.{args.format}"
        _check_flags(args, output)
        predictor = load(args.workdir, checkpoint=args.checkpoint, overrides=tuple(args.set), trusted=tuple(args.trust))
        with Checkpoints(args.workdir) as checkpoints:
            step = checkpoints.choose(args.checkpoint)
        stored = comparison.stored_images(predictor.config, comparison.IMAGES)
        signature = Signature(
            default_size(predictor.config) if args.size is None else parse_size(args.size),
            predictor.config.data.num_channels,
            args.dtype or (str(stored[0].dtype) if stored and str(stored[0].dtype) in DTYPES else "uint8"),
            args.batch,
            tuple(name for name in OUTPUTS if name in args.outputs),
        )
        content, facts = _export(predictor, signature, args, step)
        compared = publish(output, content, facts, predictor, comparison.batches(signature, stored))
        for line in _summary(output, content, facts, compared):
            console.results.print(line)


def _check_flags(args: argparse.Namespace, output: Path) -> None:
    if output.suffix != f".{args.format}":
        raise InputError(f"--output {output} must end in .{args.format}, as the format does.")
    if args.format == "onnx" and args.platforms:
        raise InputError("--platforms is for StableHLO; ONNX has none: its runtimes choose. Leave it out.")
    if args.format == "stablehlo" and "cpu" not in (args.platforms or PLATFORMS):
        raise InputError(
            f"--platforms {' '.join(args.platforms)}: an artifact is compared with the predictor before it is kept, on the CPU. "
            "Add cpu to --platforms."
        )
    if output.is_dir():
        raise InputError(f"--output {output} is a folder: name a file in it.")
    with _writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(output)
        draft.touch()
        draft.unlink()


def _export(predictor: Predictor, signature: Signature, args: argparse.Namespace, step: int) -> tuple[bytes, dict[str, Any]]:
    function = pipeline(predictor, signature)
    if half := sorted({"float16", "bfloat16"} & set(dtypes(predictor.config.model))):
        raise InputError(
            f"The network computes in {' and '.join(half)}, which rounds differently in each program, so that none could be "
            "compared with it. Its parameters are float32: add --set precision=float32."
        )
    if args.format == "onnx":
        facts = description.describe(predictor.config, signature, step=step, format="onnx", opset=OPSET)
        return to_onnx(function, signature, facts), facts
    platforms = args.platforms or list(PLATFORMS)
    facts = description.describe(predictor.config, signature, step=step, format="stablehlo", platforms=platforms)
    return to_stablehlo(function, signature, platforms), facts


def publish(output: Path, content: bytes, facts: dict[str, Any], predictor: Predictor, batches: Sequence[Any]) -> dict[str, Any]:
    """Write an artifact and its description, once it agrees with the predictor; else leave what is there as it is.

    Returns:
        What :func:`jaxseg.exporting.comparison.compare` does.

    Raises:
        InputError: where it does not agree, or the folder cannot be written.
    """
    draft = _draft(output)
    try:
        with _writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
        compared = dict(comparison.compare(draft, predictor, batches, tuple(facts["outputs"])))
        sums = {"file": output.name, "bytes": len(content), "sha256": description.checksum(content)}
        described = description.write_description(draft, {**sums, **facts, "compared": compared})
        with _writing(output):  # both are whole by now
            os.replace(described, output.with_name(f"{output.name}.json"))
            os.replace(draft, output)
    finally:
        for left in (draft, draft.with_name(f"{draft.name}.json")):
            with contextlib.suppress(OSError):
                left.unlink()
    return compared


def _draft(output: Path) -> Path:
    return output.with_name(f".{os.getpid()}-{output.name}")


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror}). Give another --output FILE.") from error


def _summary(output: Path, content: bytes, facts: dict[str, Any], compared: dict[str, Any]) -> list[str]:
    given = facts["input"]
    lines = [
        f"artifact     {output}  {len(content) / 1e6:.1f} MB",
        f"description  {output.name}.json",
        f"takes        {given['name']} ({', '.join(map(str, given['shape']))}) {given['dtype']}",
    ]
    for name, fact in facts["outputs"].items():
        found = compared["differences"][name]
        lines.append(f"returns      {name} ({', '.join(map(str, fact['shape']))}) {fact['dtype']}, differs by {found:.1e}")
    return [
        *lines,
        f"compared     on {compared['images']} images, in a process without jaxseg; {compared['tolerance']:.0e} is allowed",
    ]


if __name__ == "__main__":
    main()
