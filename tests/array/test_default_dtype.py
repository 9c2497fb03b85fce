"""NumPy's dtypes as the default, which a process chooses before it records: each case is a process of its own."""

from __future__ import annotations

import pytest
from documents import python

MADE = """
import numpy
from blockfuse import autograd, gluon, hybridize, nn, np, npx
from blockfuse.ir.errors import UsageError

npx.set_np(dtype=True)
assert npx.is_np_default_dtype()

FLOATS = {
    "ones": lambda: np.ones((2, 3)),
    "zeros": lambda: np.zeros(3),
    "full": lambda: np.full((2,), 7),
    "empty": lambda: np.empty((2,)),
    "array": lambda: np.array([1, 2]),
    "arrays in a list": lambda: np.array([np.ones(2), np.zeros(2)]),
    "a list": lambda: np.add([1.5, 2.5], [1.5, 0.5]),
    "eye": lambda: np.eye(3),
    "tri": lambda: np.tri(3),
    "arange": lambda: np.arange(0, 1, 0.25),
    "linspace": lambda: np.linspace(0, 1, 5),
    "logspace": lambda: np.logspace(0, 1, 5),
    "uniform": lambda: np.random.uniform(size=(2,)),
    "normal": lambda: np.random.normal(0, 1, (2,)),
}
"""


def printed(program: str) -> str:
    run = python("-c", MADE + program)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_arrays_without_a_dtype_have_numpys_eager_and_compiled() -> None:
    printed("""
compiled = hybridize(lambda: tuple(make() + 0 for make in FLOATS.values()))
for found in (tuple(make() for make in FLOATS.values()), compiled(), compiled(), compiled()):
    assert [(n, str(x.dtype)) for n, x in zip(FLOATS, found)] == [(n, "float64") for n in FLOATS]
assert "compiled" in compiled.explain(), compiled.explain()
assert np.arange(4).dtype == "int64" and np.arange(2, 9, 3).tolist() == [2, 5, 8]
assert np.array([True]).dtype == "bool" and np.ones(2, dtype="float32").dtype == "float32"
third = hybridize(lambda x: x + np.array([1.0]) / 3)
for _ in range(3):
    assert third(np.zeros(1))[0] == 1 / 3
""")


@pytest.mark.long
def test_parameters_and_what_has_a_dtype_stay_as_they_are() -> None:
    printed("""
net = nn.Dense(2)
net.initialize()
x = np.ones((4, 3), dtype="float32")
assert net(x).dtype == "float32" and net.weight.dtype == "float32"
assert (x + 1.5).dtype == "float32" and np.where(x > 0, x, 0.0).dtype == "float32"
loss = gluon.loss.L2Loss()
trainer = gluon.Trainer(net.collect_params(), "adam")
with autograd.record():
    value = loss(net(x), x[:, :2])
value.backward()
trainer.step(4)
assert value.dtype == "float32" and net.weight.data().dtype == "float32" and net.weight.grad().dtype == "float32"
""")


def test_the_choice_stands_once_a_call_was_recorded() -> None:
    printed("""
npx.reset_np()
assert np.ones(2).dtype == "float32" and np.arange(2).dtype == "float32" and not npx.is_np_default_dtype()
npx.set_np(dtype=True)
double = hybridize(lambda x: x * 2)
double(np.ones(2)), double(np.ones(2))
npx.set_np(dtype=True)  # no change
for change in (npx.set_np, npx.reset_np):
    try:
        change()
    except UsageError as error:
        assert "cannot become float32" in str(error) and "before hybridized nets are called" in str(error)
    else:
        raise AssertionError
assert np.ones(2).dtype == "float64"
""")
