"""What users of other libraries type first raises AttributeError, with what to write here."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

import blockfuse
from blockfuse import gluon, nn, np, npx
from blockfuse.ir import hints

TABLES: list[tuple[Any, Mapping[str, str]]] = [
    (blockfuse, hints.PACKAGE),
    (nn, hints.LAYERS),
    (gluon, hints.LAYERS),
    (gluon, hints.GLUON),
    (np, hints.NUMPY),
    (npx, hints.GLUONS_FUNCTIONS),
    (np.ones((2,)), hints.ARRAY),
    (nn.Dense(2), hints.BLOCK),
]


@pytest.mark.parametrize("number", range(len(TABLES)))
def test_a_hint_is_given_for_what_does_not_exist(number: int) -> None:
    holder, table = TABLES[number]
    for name, hint in table.items():
        with pytest.raises(AttributeError) as caught:
            getattr(holder, name)
        assert str(caught.value).endswith(f"has no attribute '{name}'; write {hint}")


@pytest.mark.parametrize("number", range(len(TABLES)))
def test_other_names_raise_as_ever_and_may_be_asked_for(number: int) -> None:
    holder, _ = TABLES[number]
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$") as caught:
        _ = holder.nothing
    assert caught.value.name == "nothing"
    assert caught.value.obj is holder
    assert not hasattr(holder, "nothing")
    assert getattr(holder, "to", 3) == 3


def test_blocks_are_copied_and_pickled_as_ever() -> None:
    net = nn.Dense(2, in_units=3)
    net.initialize()
    for other in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert (other.weight.data() == net.weight.data()).all()


def test_a_compiled_call_may_ask_for_what_a_block_lacks() -> None:
    class Net(nn.Block):
        def forward(self, x: Any) -> Any:
            return x * getattr(self, "gain", 3.0) + (1 if hasattr(self, "eval") else 2)

    net = Net()
    net.hybridize()
    x = np.ones((4,))
    for _ in range(3):
        assert net(x).tolist() == [5.0] * 4
    assert "compiled" in net.explain()
    net.gain = 1.0
    assert net(x).tolist() == [3.0] * 4


def test_a_name_of_numpys_says_where_it_is() -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'roots'; write numpy\.roots, which takes these arrays"
    ):
        _ = np.roots
