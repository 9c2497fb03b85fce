"""The cases that the package `onnx` has for each operator, eager and compiled."""

import warnings

import numpy
import pytest

import blockfuse
from blockfuse.ir.errors import MixedDtypesWarning

pytest.importorskip("onnx")

from onnx_nodes import Case, cases_of, modules

# What there is no rule for, and cases of rules that do not pass, with the reason.
WITHOUT_RULE = ("deformconv", "image_decoder", "roialign", "tfidfvectorizer")
NOT_PASSED = {
    "test_dft_inverse": "expects what rounding leaves of a zero in float32, 1.9e-7, where ours leaves 3e-15",
    "test_dft_inverse_opset19": "the same",
}


@pytest.mark.spread(12)
@pytest.mark.parametrize("module", modules())
def test_cases_pass_eager(module: str) -> None:
    for case in cases_of(module):
        if module in WITHOUT_RULE:
            assert len(blockfuse.missing(case.model)) == 1
        elif case.name not in NOT_PASSED:
            net = blockfuse.compile(case.model)
            net.hybridize(False)
            check(net, case)


@pytest.mark.long
@pytest.mark.parametrize("module", modules())
def test_cases_pass_compiled(module: str) -> None:
    for case in cases_of(module):
        if module not in WITHOUT_RULE and case.name not in NOT_PASSED:
            net = blockfuse.compile(case.model)
            for _ in range(3):  # forward is met, recorded, compiled
                check(net, case)


def check(net: blockfuse.nn.Block, case: Case) -> None:
    for given, expected in case.data:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # NumPy's, of infinities that cases have on purpose
            warnings.simplefilter("ignore", MixedDtypesWarning)
            results = net(*given)
        results = results if isinstance(results, tuple) else (results,)
        for found, wanted in zip(results, expected, strict=True):
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), case.name
            if not case.is_drawn:
                numpy.testing.assert_allclose(found, wanted, case.rtol, case.atol, err_msg=case.name)
