import pytest

import jaxseg.losses
import jaxseg.metrics

LOSSES = [
    name for name in vars(jaxseg.losses) if name.islower() and callable(getattr(jaxseg.losses, name)) and name != "sum_of_losses"
]
METRICS = ["ConfusionMatrix", "BoundaryF1", "CalibrationError"]


@pytest.mark.parametrize("name", [*LOSSES, *METRICS])
def test_every_public_name_has_an_example(name):
    found = getattr(jaxseg.losses, name, None) or getattr(jaxseg.metrics, name)
    assert ">>> " in found.__doc__


def test_there_are_losses():
    assert len(LOSSES) == 16
