"""What notebooks show: nets, explanations, comparisons and stages, from the same facts as the text, and never an error."""

from __future__ import annotations

import doctest
import re
from types import ModuleType
from typing import Any

import numpy
import pytest
import webpages

import blockfuse
from blockfuse import autograd, nn, np
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.net_table import rows_of
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.cli import in_python, measure, report, stages
from blockfuse.runtime.cli.comparisons import Comparisons
from blockfuse.runtime.inspection import STAGES


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that nobody looks at take a moment."""
    monkeypatch.setattr(measure, "_SETTLE", 0.0)
    monkeypatch.setattr(measure, "_ROUND", 1e-4)


def small() -> nn.Block:
    net = nn.Sequential(nn.Dense(8, activation="relu", in_units=5), nn.Dense(3, in_units=8))
    net.initialize()
    return net


class Eager(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Dense(3)

    def forward(self, x: Any) -> Any:
        return self.inner(x) * float(x.sum())


X = np.ones((2, 5))


def shown(value: Any) -> webpages.Tag:
    html = value._repr_html_()
    assert html is not None
    return webpages.read(html)


def cells(page: webpages.Tag) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for row in page.all("tr") if row.all("td")]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


# -- nets ------------------------------------------------------------------------------------------------------


def test_a_net_is_a_table_of_its_blocks() -> None:
    net = small()
    net[1].weight.grad_req = "null"
    net[1].cast("float64")
    assert cells(shown(net)) == [
        ["(net)", "Sequential", "", "", ""],
        ["0", "Dense", "weight 8x5, bias 8", "48", ""],
        ["1", "Dense", "weight 3x8 (float64, not trained), bias 3 (float64)", "27", ""],
    ]
    assert "75 parameters, 51 of them trained" in shown(net).text
    assert "call hybridize() to compile it" in shown(net).text


def test_a_net_without_values_says_so_and_gets_none() -> None:
    net = nn.Sequential(nn.Dense(8), nn.BatchNorm())
    found = shown(net)
    assert cells(found)[1][2] == "weight 8x?, bias 8; no values yet"
    assert "and 5 arrays whose shapes the first call says" in found.text
    assert all(p._data is None for p in net.collect_params().values())
    net.initialize()
    assert cells(shown(net))[1][2] == "weight 8x?, bias 8; no values yet"
    net(X)
    assert cells(shown(net))[1][2] == "weight 8x5, bias 8"


def test_a_net_tells_what_is_compiled_and_shows_what_explain_says() -> None:
    net = small()
    net.hybridize()
    assert cells(shown(net))[0][4] == "hybridized, not called yet"
    net(X)
    assert cells(shown(net))[0][4] == "compiled"
    net(np.ones((2, 5), dtype="float64"))
    assert cells(shown(net))[0][4] == "2 compiled"
    for line in net.explain().split("\n"):
        assert squeezed(line) in squeezed(shown(net).text)


def test_a_net_in_python_tells_so_with_reason_and_cure() -> None:
    net = Eager()
    net.initialize()
    net.hybridize()
    net(X)
    net(X)
    found = shown(net)
    assert cells(found)[0][4] == "eager"
    assert "float()" in found.text
    assert len(found.all("div", "cure")) == 1
    assert cells(found)[1][4] == "hybridized, not called yet"
    with autograd.record():
        net(X)
        net(X)
    assert cells(shown(net))[0][4] == "2 eager"


def test_showing_a_net_calls_and_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small()
    net.hybridize()
    net(X)
    before = net.explain()
    forbidden = []
    monkeypatch.setattr(nn.Block, "_run", lambda *_: forbidden.append("run"))
    monkeypatch.setattr(Hybrid, "call", lambda *_: forbidden.append("call"))
    shown(net)
    assert (forbidden, net.explain()) == ([], before)


def test_shared_blocks_and_parameters_count_once() -> None:
    net = small()
    net.add(net[0])
    twin = nn.Dense(8, in_units=5)
    twin.share_parameters(net[0].collect_params())
    net.add(twin)
    found = shown(net)
    assert "75 parameters" in found.text
    assert cells(found)[3][2] == "as above: the same block"


def test_blocks_that_hold_each_other_are_shown() -> None:
    net = small()
    net.register_child(net, "self")
    net[0].register_child(net, "outer")
    assert [row.name for row in rows_of(net)] == ["", "0", "0.outer", "1", "self"]
    assert "(net)" in shown(net).text
    assert "..." in repr(net)
    assert shown(net).all("table")


@pytest.mark.long
def test_thousands_of_layers_are_folded() -> None:
    net = nn.Sequential(*(nn.Dense(2, in_units=2) for _ in range(5000)))
    found = shown(net)
    (more,) = [d for d in found.all("details") if "more blocks" in d.text]
    assert len(cells(found)) == 2000
    assert len(cells(found)) - len(cells(more)) == 40
    assert "and 3001 blocks that are not listed" in found.text
    assert "30,000 parameters" in found.text


def test_a_net_that_is_deep_is_shown() -> None:
    net = nn.Sequential(nn.Dense(2, in_units=2))
    for _ in range(3000):
        net = nn.Sequential(net)
    assert len(cells(shown(net))) == 2000
    assert net[0].structural_name == "0"


class Odd(nn.Block):
    def explain(self) -> str:
        raise RuntimeError("no")


class Lazy(nn.Block):
    def __init__(self) -> None:
        """No layers, and no call of the base class."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: name


@pytest.mark.parametrize(
    "make",
    [Odd, Lazy, nn.Sequential, nn.Block, lambda: nn.Lambda(lambda x: x), nn.LayerNorm, lambda: nn.Dropout(0)],
)
def test_odd_nets_raise_nothing(make: Any) -> None:
    html = make()._repr_html_()
    assert html is None or webpages.read(html)


def test_hostile_names_are_text() -> None:
    name = "<script>alert('&')</script>"
    net = nn.Sequential()
    net.register_child(nn.Dense(2, in_units=2), name)
    net[0].params.get("\"><img src=x onerror='1'>\ud800", shape=(1,))
    kind = type("<b>Net</b>", (nn.Sequential,), {})
    outer = kind(net)
    outer.initialize()
    found = shown(outer)
    assert cells(found)[2][0] == f"0.{name}"
    assert cells(found)[0][1] == "<b>Net</b>"
    assert "\"><img src=x onerror='1'>\ufffd 1" in cells(found)[2][2]


def test_a_hybridized_function_is_shown_with_its_explanation() -> None:
    function = blockfuse.hybridize(lambda x: np.exp(x) + 1)
    function(X)
    found = shown(function)
    assert "<hybridized" in found.text
    assert squeezed(str(function.explain())) in squeezed(found.text)


def test_a_notebook_shows_text_too() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    net = small()
    net.hybridize()
    net(X)
    html, text = formatters.HTMLFormatter(), formatters.PlainTextFormatter()
    assert webpages.read(html(net)).all("table")
    assert text(net.explain()) == str(net.explain())
    assert webpages.read(html(net.explain())).text


# -- compare ---------------------------------------------------------------------------------------------------


def test_compare_says_in_html_what_it_says_in_text() -> None:
    for net in (small(), Eager()):
        net.initialize(force_reinit=True)
        found = blockfuse.compare(net, X)
        page = shown(found)
        said = squeezed(page.text)
        for line in str(found).split("\n"):
            words = re.split(r"\s{2,}", line.removeprefix("cure: "))
            assert [word for word in words if squeezed(word) not in said] == []
        columns = report.columns(found.rows)
        assert [th.text for th in page.all("th")] == [c.heading for c in columns]
        assert cells(page) == [
            [text for text, _ in row] for row in zip(*(c.cells for c in columns), strict=True)
        ]


def test_compare_draws_the_graph_and_folds_sources() -> None:
    found = blockfuse.compare(small(), X)
    page = shown(found)
    assert [f.text for f in page.all("figcaption")] == ["recorded", "fused"]
    sources = [d.text for d in page.all("details") if d.text.startswith("source of ")]
    program = found.rows[0].outcome.program
    assert len(sources) == len(program.executable.plan.sources) > 0
    for text, source in zip(sources, program.executable.plan.sources, strict=True):
        assert source.strip() in text


def test_compare_leaves_net_stream_and_arguments_as_they_were() -> None:
    net = small()
    net[0].hybridize(precision="bf16")
    np.random.seed(7)
    state, given = np.random.get_state().asnumpy(), numpy.ones((2, 5), "float32")
    blockfuse.compare(net, given)
    assert net._hybrid is None
    assert net[0]._hybrid_options == {"precision": "bf16"}
    assert net[1]._hybrid is None
    assert (np.random.get_state().asnumpy() == state).all()
    assert (given == 1).all()
    net.hybridize(threads=1)
    assert "threads: 1" in str(blockfuse.compare(net, given))
    assert net._hybrid_options == {"threads": 1}
    before = net(X)
    assert np.abs(net(X) - before).max() < 1e-6


def drawn(x: np.ndarray) -> np.ndarray:
    return x + np.random.normal(size=(5,)) * np.random.uniform(size=(5,))


class Drawn(nn.Block):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return drawn(x)


@pytest.mark.parametrize("look", [blockfuse.show, blockfuse.compare])
@pytest.mark.parametrize(
    "make", [lambda: drawn, lambda: blockfuse.hybridize(drawn), Drawn], ids=["plain", "function", "block"]
)
@pytest.mark.parametrize("calls", [0, 5])
def test_draws_go_on_as_if_nobody_had_looked(look: Any, make: Any, calls: int) -> None:
    net = make()
    for active in (False, True):
        if isinstance(net, Drawn):
            net.hybridize(active)
        for _ in range(calls):
            net(X)
        np.random.seed(3)
        expected = [net(X).asnumpy() for _ in range(3)]
        np.random.seed(3)
        found = [net(X).asnumpy()]
        look(net, X)
        found += [net(X).asnumpy(), net(X).asnumpy()]
        numpy.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_draws_go_on_where_a_look_fails() -> None:
    def failing(x: np.ndarray) -> np.ndarray:
        raise OSError(f"no {x + np.random.normal(size=(5,))}")

    for look in (blockfuse.show, blockfuse.compare):
        state = np.random.get_state().asnumpy()
        with pytest.raises(OSError, match="no"):
            look(blockfuse.hybridize(failing), X)
        assert (np.random.get_state().asnumpy() == state).all()


def test_compare_takes_functions_and_several_arrays() -> None:
    found = blockfuse.compare(lambda x, y: np.exp(x) + y, X, np.arange(5))
    assert isinstance(found, Comparisons)
    assert found.agree
    assert found.rows[0].inputs[1].shape == (5,)
    twice = blockfuse.compare(blockfuse.hybridize(lambda x: x * 2, threads=1), X)
    assert "threads: 1" in str(twice)


def test_compare_notices_results_that_differ() -> None:
    found = blockfuse.compare(small(), X, tolerance=0, precision="bf16")
    assert not found.agree
    assert shown(found).all("b", "bad")
    assert shown(found).all("td", "right bad")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: blockfuse.compare(nn.Dense, X), "Dense is a class: write Dense"),
        (lambda: blockfuse.compare("net.py", X), "takes a block or a function of arrays, not 'net.py'"),
        (lambda: blockfuse.compare(small()), "give it the arrays"),
        (
            lambda: blockfuse.compare(small(), [[1.0]]),
            r"argument 1 is \[\[1.0\]\] of type list: write blockfuse.np.array",
        ),
        (lambda: blockfuse.compare(small(), X, 3), "argument 2 is 3 of type int"),
        (lambda: blockfuse.compare(small(), numpy.array(["a"])), "argument 1 has dtype <U1"),
        (lambda: blockfuse.compare(small(), X, tolerance="no"), "tolerance= as a number"),
        (lambda: blockfuse.compare(small(), X, threds=1), "no option 'threds'; it has tolerance, backend"),
        (lambda: blockfuse.compare(numpy.exp, X), "takes a block or a function of arrays, not ufunc"),
        (lambda: blockfuse.show(3, X), "takes a block or a function of arrays, not 3"),
    ],
)
def test_wrong_arguments_are_told(call: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call()


def test_errors_of_a_net_are_told_and_leave_it_as_it_was() -> None:
    net = small()
    for function in (blockfuse.compare, blockfuse.show):
        with pytest.raises(ShapeError, match="expects 5 features"):
            function(net, np.ones((2, 7)))
    assert net._hybrid is None


@pytest.mark.parametrize("module", [in_python, stages])
def test_examples_give_what_they_say(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


# -- show ------------------------------------------------------------------------------------------------------


def test_show_has_the_stages_of_the_command() -> None:
    found = blockfuse.show(small(), X)
    page = shown(found)
    for stage, text in STAGES.items():
        assert found[stage] == text(found.program)
        assert found[stage] in str(found)
        assert squeezed(found[stage].split("\n")[-1]) in squeezed(page.text)
    with pytest.raises(KeyError, match="there is no stage 'grahp'; there are graph, passes"):
        found["grahp"]


def test_show_without_arrays_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small()
    for wrong in (net, 3, lambda x: x):
        with pytest.raises(UsageError, match="call it first, or give arrays"):
            blockfuse.show(wrong)
    net.hybridize()
    net(X)
    monkeypatch.setattr(Hybrid, "call", lambda *_: pytest.fail("called"))
    assert "dense" in blockfuse.show(net)["graph"]


def test_show_of_a_net_in_python_says_why() -> None:
    net = Eager()
    net.initialize()
    found = blockfuse.show(net, X)
    assert found.program is None
    assert "runs eagerly" in shown(found).text
    assert "cure" in shown(found).text
    with pytest.raises(ValueError, match="runs eagerly"):
        found["graph"]
    assert net._hybrid is None


def test_two_outputs_on_one_page_do_not_meet() -> None:
    first, second = small()._repr_html_(), blockfuse.show(small(), X)._repr_html_()
    assert first is not None
    page = webpages.read(first + second)  # which refuses ids
    assert len({style.text for style in page.all("style")}) == 1
