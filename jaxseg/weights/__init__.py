"""Published weights: other libraries' checkpoints into our networks, and ours into theirs.

>>> from jaxseg import weights                                                              # doctest: +SKIP
>>> loaded = weights.load(model, "resnet50.safetensors")                                    # doctest: +SKIP
>>> weights.save(variables, "ours.safetensors", model=model, source="torchvision")          # doctest: +SKIP

In the order in which a file goes through them:

    hub             fetches ``hf://owner/repo``
    readers         files to arrays by name; ``torch_files`` reads PyTorch's without running what is pickled in them
    sources         all known kinds of files; ``formats`` says what a kind is
    torchvision, timm, ...      one file per source: tables of names
    table, layouts  names and layouts of arrays, theirs to ours and back
    matching        what of it fits a network, and the report
    preprocessing   how images were prepared where the weights were trained
    loading, saving

To add a source, write a file like :mod:`jaxseg.weights.torchvision` and name its ``FORMATS`` in :mod:`jaxseg.weights.sources`:

1. For each network a function ``table(model, names)`` that returns rows, ``Row(our path, their name, layout)``: a path below the
   module, of a layer or of a single array; numbers in braces, ``{b0}`` for a count from 0. The function may look at the model's
   fields, and at the names in the file where those decide. Rows of parts are put together by ``within``.
2. A ``Format``: a title, names that every such file has and others do not (``signature``, ``absent``), the tables by class of
   ours, and the preprocessing. For files of whole networks also give the table of the backbone inside, so that the file fills
   other networks with that backbone.
3. An array that lies in the file in a way that :mod:`jaxseg.weights.layouts` does not know needs a ``Layout`` of its own, with
   both directions.
4. A test in ``tests/parity``: the reference with random weights, saved, loaded here, compared; one training step; and back.
"""

from jaxseg.weights.loading import Loaded, load
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.saving import save

__all__ = ["Loaded", "Preprocessing", "load", "save"]
