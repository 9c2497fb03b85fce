"""Torch's own samples of its modules, of float32 and in evaluation: calls give what torch gives, compiled or not."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch's samples need it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db

import blockfuse  # noqa: E402
from blockfuse.frontends.torch import tensors  # noqa: E402

SAMPLES = 4  # of each module; all of them are 1,794
# Modules whose samples are left to torch, and why.
LEFT = {
    "nn.CTCLoss": "no rule",
    "nn.FractionalMaxPool2d": "draws",
    "nn.FractionalMaxPool3d": "draws",
}
INFOS = {info.name: info for info in module_db}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", INFOS)
def test_samples_of_a_module_give_what_torch_gives(name: str) -> None:
    info, found = INFOS[name], []
    every = info.module_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=False
    )
    for sample in list(every)[:SAMPLES]:
        made = sample.constructor_input
        module = info.module_cls(*made.args, **made.kwargs).eval()
        found.append(_is_compiled(module, sample.forward_input.args, sample.forward_input.kwargs))
    assert name in LEFT or any(found), "no sample is compiled"


def _is_compiled(module: Any, args: Any, kwargs: Any) -> bool:
    """Whether a program is made of calls, which give what the module gives."""
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        try:
            expected = list(tensors.tensors_in(module(*copy.deepcopy(args), **copy.deepcopy(kwargs))))
        except RuntimeError:  # a sample that torch refuses in this dtype
            return True
        for _ in range(3):
            ours = list(tensors.tensors_in(net(*copy.deepcopy(args), **copy.deepcopy(kwargs))))
            torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-5, equal_nan=True)
    return ": compiled" in net.explain()
