import argparse
import doctest

import pytest

from jaxseg.crf import SETS, Parameters, parameters
from jaxseg.errors import InputError


def test_doctest():
    assert doctest.testmod(parameters) == (0, 1)


def test_sets_and_single_values():
    assert parameters.parse("deeplab-v2-resnet101") == SETS["deeplab-v2-resnet101"]
    assert parameters.parse("w1=4,sigma_alpha=67, iterations=3") == Parameters(w1=4.0, sigma_alpha=67.0, iterations=3)
    given = parameters.parse("crf-rnn,w2=1,normalisation=after")
    assert (given.sigma_alpha, given.w2, given.normalisation) == (160.0, 1.0, "after")


@pytest.mark.parametrize("given", SETS.values(), ids=SETS)
def test_what_is_printed_is_read_back(given):
    assert parameters.parse(str(given)) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deeplab-v3", "'deeplab-v3' is no set of parameters, which come first. Did you mean 'deeplab-v1'?"),
        ("street.jpg", "To use the default before an image's name, write --crf=deeplab-v1."),
        ("w1=2,deeplab-v1", "'deeplab-v1' is no set of parameters, which come first."),
        ("sigma_alfa=3", "there is no parameter 'sigma_alfa'. Did you mean 'sigma_alpha'?"),
        ("w1=much", "w1 needs a number, and 'much' is none."),
        ("sigma_beta=0", "sigma_beta=0.0 must be positive"),
        ("normalisation=both", "normalisation='both' is none of the kernel's."),
        ("iterations=-1", "iterations=-1 must be at least 0"),
    ],
)
def test_refuses(text, message):
    with pytest.raises(InputError) as error:
        parameters.parse(text)
    assert message in str(error.value)


def test_the_flag(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+")
    parameters.add_flag(parser)
    assert parser.parse_args(["a.png"]).crf is None
    assert parser.parse_args(["a.png", "--crf"]).crf == SETS["deeplab-v1"]
    assert parser.parse_args(["--crf=w1=2", "a.png"]).crf == Parameters(w1=2.0)
    with pytest.raises(SystemExit):
        parser.parse_args(["--crf", "a.png"])
    assert "write --crf=deeplab-v1" in " ".join(capsys.readouterr().err.split())
