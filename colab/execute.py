"""Runs notebooks and writes them back with what they show: ``python colab/execute.py colab/losses.ipynb``, or all without a name.

Each gets the install cell of ``install_cell.py``. What differs from run to run, such as times, is not kept. Only here are the
pictures written that the README takes from a notebook.
"""

import os
import sys
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).parent


def clean(notebook: nbformat.NotebookNode) -> None:
    """Keep of the metadata what a reader needs, and join what a cell prints in pieces."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **{key: value for key, value in notebook.metadata.items() if key in ("accelerator", "colab")},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        outputs: list[nbformat.NotebookNode] = []
        for output in cell.get("outputs", []):
            if outputs and output.output_type == "stream" and outputs[-1].get("name") == output.name:
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs


def execute(path: Path) -> None:
    """Run a notebook in its folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = (FOLDER / "install_cell.py").read_text().rstrip("\n")
    nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    clean(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    os.environ["PICTURES"] = str(FOLDER.resolve().parent / "pictures")  # the kernel inherits it
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        execute(Path(name))
