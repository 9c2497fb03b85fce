"""The command line: what it prints, writes and complains about, and its exit statuses."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import webpages
from documents import ROOT, python

from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.cli import measure, report
from blockfuse.runtime.cli.inputs import Input, parsed
from blockfuse.runtime.cli.main import main
from blockfuse.runtime.cli.subjects import subjects
from blockfuse.runtime.programs.updates import Updates

NETS = '''"""Nets to compare."""
import blockfuse
from blockfuse import np, npx, nn

class Net(nn.Block):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(8, activation="relu", in_units=6)
        self.out = nn.Dense(3)

    def forward(self, X):
        return self.out(self.hidden(X))

class Eager(Net):
    def forward(self, X):
        print(end="")
        return super().forward(X)

class Raises(Net):
    def forward(self, X):
        raise ValueError("no\\nluck")

@blockfuse.hybridize
def doubled(x, y):
    return x * 2 + y

def make_net():
    return Net()

def make_number():
    return 3

number = 3
'''
ESCAPE = "\x1b"


@pytest.fixture
def nets(tmp_path: Path) -> str:
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return str(file)


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ROUND", 1e-4)
    monkeypatch.setattr(measure, "_ROUNDS", (2, 3))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run the command line: exit status, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main([str(a) for a in arguments])
        return (exit.value.code or 0, *capsys.readouterr())

    return call


# -- compare -------------------------------------------------------------------------------------------------


def test_compare_says_what_was_compiled(run, nets: str) -> None:
    status, out, _ = run("compare", f"{nets}:Net")
    assert status == 0
    assert re.search(r"nets\.py:Net +1x6 .*x .* 3 operators -> 2 kernels", out)
    assert "1 compiled, 0 eager; all results agree" in out


def test_compare_says_why_a_net_runs_eagerly(run, nets: str) -> None:
    status, out, _ = run("compare", f"{nets}:Eager")
    assert status == 0
    assert re.search(r"nets\.py:Eager .* eager\s*$", out, flags=re.MULTILINE)
    assert re.search(r"^nets\.py:Eager: runs eagerly because .* nets\.py:16$", out, flags=re.MULTILINE)


def test_compare_takes_classes_factories_instances_and_functions(run, tmp_path: Path, nets: str) -> None:
    (tmp_path / "beside.py").write_text(NETS)
    (tmp_path / "made.py").write_text("from beside import Net\nnet = Net()\n")
    status, out, _ = run("compare", f"{nets}:make_net", tmp_path / "made.py")
    assert status == 0
    assert "nets.py:make_net" in out
    assert "made.py:net" in out
    status, out, _ = run("compare", f"{nets}:doubled", "--input", "2x3", "--input", "3")
    assert status == 0
    assert "2x3 3" in out


def test_a_narrow_terminal_gets_fewer_columns(nets: str) -> None:
    row = measure.compared(subjects(f"{nets}:Net", ())[0], None, {}, None)
    narrow, wide = (report.table([row], width) for width in (80, 140))
    assert [c.header for c in narrow.columns] == [
        *("net", "input", "eager us", "compiled us", "ratio", "difference"),
    ]
    assert [c.header for c in wide.columns if c not in narrow.columns][-1] == "what runs"


def test_compare_runs_each_batch(run, nets: str) -> None:
    _, out, _ = run("compare", f"{nets}:Net", "--batch", "1,4", "--threads", "1")
    assert re.findall(r"Net +(\S+)", out) == ["1x6", "4x6"]


@pytest.mark.long
def test_compare_reads_the_inputs_of_a_file(run, nets: str) -> None:
    file = Path(nets)
    file.write_text(NETS + 'INPUTS = {"make_net": "5x6", "doubled": ["2x3:float64", "2x3:float64"]}\n')
    _, out, _ = run("compare", file)
    assert re.findall(r"nets\.py:(\w+) +(\S+)", out) == [("make_net", "5x6"), ("doubled", "2x3:float64")]
    file.write_text(NETS + 'INPUTS = "7x6"\nnet = Net()\ndel doubled\n')
    _, out, _ = run("compare", file)
    assert re.findall(r"nets\.py:(\w+) +(\S+)", out) == [("net", "7x6")]


@pytest.mark.long
def test_compare_without_a_file_runs_the_examples(run) -> None:
    status, out, _ = run("compare")
    assert status == 0
    names = set(re.findall(r"^(\w+\.py:\w+)", out, flags=re.MULTILINE))
    assert {"seeds.py:chimera", "deep.py:deep", "function.py:normalized", "exercise_2.py:parallel"} <= names


def test_a_difference_beyond_the_tolerance_is_exit_status_1(
    run, nets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Hybrid.call
    monkeypatch.setattr(Hybrid, "call", lambda self, args, kwargs: call(self, args, kwargs) * 1.001)
    status, out, _ = run("compare", f"{nets}:Eager")
    assert status == 1
    assert "results differ: nets.py:Eager" in out
    assert run("compare", f"{nets}:Eager", "--tolerance", "0.01")[0] == 0


def test_json_has_all_numbers(run, nets: str, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    run("compare", f"{nets}:Net", "--batch", "1,2", "--json", file)
    document = json.loads(file.read_text())
    assert document.keys() == {"schema", "machine", "versions", "results"}
    assert document["schema"] == report.SCHEMA
    assert [r["inputs"] for r in document["results"]] == [
        [{"shape": [1, 6], "dtype": "float32"}],
        [{"shape": [2, 6], "dtype": "float32"}],
    ]
    row = document["results"][0]
    assert (row["file"], row["object"], row["compiled"], row["reason"]) == ("nets.py", "Net", True, "")
    assert (row["operators"], row["kernels"], row["numpy_calls"]) == (3, 2, 0)
    assert row["within_tolerance"]
    assert row["compiled_us"]["low"] <= row["compiled_us"]["median"] <= row["compiled_us"]["high"]
    assert row["ratio"] == pytest.approx(row["eager_us"]["median"] / row["compiled_us"]["median"])
    assert list(tmp_path.glob(".out*")) == []


def test_every_key_of_the_json_is_documented(run, nets: str, tmp_path: Path) -> None:
    run("compare", f"{nets}:Net", "--json", tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    row = document["results"][0]
    for key in (*document, *document["machine"], *document["versions"], *row, *row["eager_us"]):
        assert f"`{key}`" in text, key


@pytest.mark.spread(2)
@pytest.mark.parametrize(("name", "start"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_plot_draws_a_picture(run, nets: str, tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    run("compare", f"{nets}:Net", "--plot", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_plot_without_matplotlib_names_the_extra(run, nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run("compare", f"{nets}:Net", "--plot", "p.png")
    assert (status, err) == (2, "blockfuse: --plot needs matplotlib: pip install 'blockfuse[plot]'\n")


def test_results_of_other_shape_dtype_or_structure_differ() -> None:
    from blockfuse import np

    one = np.ones((2, 3))
    for other in (np.ones((3, 2)), one.astype("float64"), (one,), one * np.nan, one * np.inf):
        assert not measure.difference_of(one, other, {"float32": 0.1, "float64": 0.1}).within
    for same in (one, (one, 3), one * np.nan, one * np.inf, np.ones((0, 3))):
        assert measure.difference_of(same, same, measure.TOLERANCES).within


# -- compare --train -----------------------------------------------------------------------------------------


@pytest.mark.long
def test_compare_trains_a_net_both_ways(run, nets: str, tmp_path: Path) -> None:
    status, out, _ = run("compare", f"{nets}:Net", "--train", "--batch", "4", "--json", tmp_path / "out.json")
    assert status == 0
    assert re.search(r"nets\.py:Net +4x6 +softmax, sgd .*x .* \d+ operators -> \d+ kernels", out)
    assert "1 compiled, 0 eager; all results agree" in out
    (row,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert (row["training"], row["compiled"], row["within_tolerance"]) == ("softmax, sgd", True, True)
    assert row["max_relative_difference"] < 1e-4


@pytest.mark.long
def test_compare_trains_by_the_loss_and_optimizer_that_are_named(run, nets: str) -> None:
    status, out, _ = run("compare", f"{nets}:Eager", "--train", "--loss", "hinge", "--optimizer", "Adam")
    assert status == 0
    assert re.search(r"nets\.py:Eager +1x6 +hinge, Adam .* eager\s*$", out, flags=re.MULTILINE)
    assert re.search(r"^nets\.py:Eager: runs eagerly because .* nets\.py:16$", out, flags=re.MULTILINE)


@pytest.mark.long
def test_a_net_that_gives_one_number_is_trained_through_its_loop(run) -> None:
    status, out, _ = run("compare", ROOT / "examples/through_a_loop.py", "--train", "--steps", "2")
    assert status == 0
    assert re.search(r"FixedHiddenMLP +2x20 +l2, sgd ", out)
    assert "1 compiled, 0 eager; all results agree" in out


def test_a_step_that_trains_otherwise_is_exit_status_1(
    run, nets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Updates.write
    monkeypatch.setattr(
        Updates,
        "write",
        lambda self, values, *also: original(self, [value * 1.001 for value in values], *also),
    )
    status, out, _ = run("compare", f"{nets}:Net", "--train", "--batch", "4")
    assert status == 1
    assert "results differ: nets.py:Net 4x6" in out


@pytest.mark.long
def test_nets_that_cannot_be_trained_are_left_out_with_a_reason(run, nets: str) -> None:
    file = Path(nets)
    file.write_text(
        NETS + "class Bare(nn.Block):\n    def forward(self, x):\n        return x\n"
        'INPUTS = {"Bare": "2x3", "doubled": ["2", "2"], "Eager": "1x6"}\n'
    )
    status, out, _ = run("compare", file, "--train")
    assert status == 0
    assert "left out: nets.py:Bare has no parameters to train" in out
    assert "left out: nets.py:doubled is a function: only blocks have parameters to train" in out


# -- show ----------------------------------------------------------------------------------------------------


def test_show_prints_every_stage_in_order(run, nets: str) -> None:
    status, out, _ = run("show", f"{nets}:Net")
    assert status == 0
    assert re.findall(r"^-- (\w+) -+$", out, flags=re.MULTILINE) == [
        "graph",
        "passes",
        "schedule",
        "source",
        "guards",
    ]


@pytest.mark.parametrize(
    ("stage", "pattern"),
    [
        ("graph", r"%0 = dense\(x, hidden.weight, hidden.bias\): float32\[1, 8\] +# nets.py:12"),
        ("passes", r"after fuse:\n.*fused\("),
        ("schedule", r"launch dense_relu\(x, "),
        ("source", r"def dense_relu\("),
        ("guards", r"x: float32\[1, 6\], C-contiguous(.|\n)*parameter hidden.weight"),
    ],
)
def test_show_prints_a_stage(run, nets: str, stage: str, pattern: str) -> None:
    status, out, _ = run("show", f"{nets}:Net", "--stage", stage)
    assert status == 0
    assert re.search(pattern, out)


def test_show_leaves_out_passes_that_change_nothing(run, nets: str) -> None:
    _, out, _ = run("show", f"{nets}:doubled", "--stage", "passes", "--input", "3", "--input", "3")
    assert re.findall(r"after (\w+):", out) == ["fuse"]


def test_show_names_layers_that_no_line_of_the_user_calls_by_their_place(run, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from blockfuse import nn, np\n"
        "class Tail(nn.Block):\n"
        "    def forward(self, x):\n"
        "        return np.exp(x)\n"
        "net = nn.Sequential(nn.Dense(4, activation='relu'), nn.Sequential(nn.Dense(2)), Tail())\n"
        "net.initialize()\n"
    )
    _, out, _ = run("show", str(file), "--stage", "graph", "--input", "2x3")
    assert re.findall(r"# (.*)", out) == ["0 (Dense)", "0 (Dense)", "1.0 (Dense)", "net.py:4"]


def test_show_of_an_eager_net_says_why(run, nets: str) -> None:
    status, out, err = run("show", f"{nets}:Eager", "--stage", "graph")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"nets\.py:Eager runs eagerly: .*nets\.py:16\ncure: .*\n", err)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["seeds.py:fixed_hidden_mlp", "transformer_mlp.py", "exercise_2.py"])
def test_svg_is_well_formed_and_keeps_to_its_size(run, tmp_path: Path, name: str) -> None:
    run("show", ROOT / "examples" / name, "--svg", tmp_path / "net.svg")
    svg = ElementTree.parse(tmp_path / "net.svg").getroot()
    space = {"svg": "http://www.w3.org/2000/svg"}
    texts = [t.text for t in svg.iterfind(".//svg:text", space)]
    assert "result" in texts
    assert any("recorded" in t for t in texts)
    assert any("fused" in t for t in texts)
    width, height = float(svg.get("width")), float(svg.get("height"))
    found = list(rectangles(svg, 0.0, 0.0))
    assert len(found) > 5
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def rectangles(parent: ElementTree.Element, left: float, top: float) -> Iterator[tuple[float, ...]]:
    """The corners of those in an element, and in groups that are moved."""
    for child in parent:
        name = child.tag.rsplit("}", 1)[-1]
        if name == "rect":
            x, y, width, height = (float(child.get(k)) for k in ("x", "y", "width", "height"))
            yield left + x, top + y, left + x + width, top + y + height
        elif name == "g":
            moved = map(float, re.findall(r"[\d.]+", child.get("transform") or "0 0"))
            yield from rectangles(child, *map(sum, zip((left, top), moved, strict=True)))


# -- the page --------------------------------------------------------------------------------------------------


def test_html_is_one_page_with_all_that_was_printed(run, nets: str, tmp_path: Path) -> None:
    _, out, _ = run("compare", f"{nets}:Net", f"{nets}:Eager", "--html", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    page = webpages.read(text.removeprefix("<!DOCTYPE html>\n"))  # which refuses whatever loads something
    said = re.sub(r"\s+", "", page.text)
    words = [word for line in out.split("\n") for word in re.split(r"\s{2,}", line.removeprefix("cure: "))]
    assert [word for word in words if re.sub(r"\s+", "", word) not in said] == []
    assert [f.text for f in page.all("figcaption")] == ["recorded", "fused"]
    sources = [d for d in page.all("details") if d.text.startswith("source of ")]
    assert len(sources) == 2
    assert all("def " in source.text for source in sources)
    assert "open" not in sources[0].attributes
    assert "@media (prefers-color-scheme: dark)" in page.all("style")[0].text


def test_html_of_training_and_of_hostile_names(run, tmp_path: Path) -> None:
    file = tmp_path / "a<b>&'.py"
    file.write_text(
        "from blockfuse import nn\n"
        "class Net(nn.Block):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.register_child(nn.Dense(2, in_units=3), '<script>alert(1)</script>')\n"
        "    def forward(self, x):\n"
        "        return next(iter(self._children.values()))(x)  # </style><script>\n"
        "net = Net()\n"
        "INPUTS = '2x3'\n"
    )
    run("compare", str(file), "--train", "--steps", "2", "--html", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = webpages.read(text.removeprefix("<!DOCTYPE html>\n"))
    assert "<script" not in text
    assert "a<b>&'.py:net" in page.text
    assert "<script>alert(1)</script>.weight" in page.text


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--foo"], "No such option '--foo'"),
        (["nothing"], "No such command 'nothing'"),
        (["show"], "Missing argument"),
        (["compare", "nowhere.py"], "there is no file nowhere.py"),
        (
            ["compare", "{nets}:other"],
            "has no other; it has Net, Eager, Raises, doubled, make_net, make_number",
        ),
        (["compare", "{nets}:number"], "nets.py:number is of type int, not a block"),
        (["compare", "{nets}:make_number"], "nets.py:make_number returned int, not a block"),
        (["compare", "{nets}:doubled"], "nets.py:doubled: inputs are not known; pass --input 2x20"),
        (["compare", "{nets}:Raises"], "nets.py:Raises raised ValueError: no luck (nets.py:21)"),
        (["show", "{nets}:Raises"], "nets.py:Raises raised ValueError: no luck (nets.py:21)"),
        (["compare", "{nets}:Net", "--input", "2x5"], "nets.py:Net raised ShapeError: "),
        (["compare", "--input", "2by3"], "'2by3' is no input: write sizes"),
        (["compare", "--input", "2x3:complex64"], "there is no dtype 'complex64'; there are float16,"),
        (["compare", "--batch", "1,0"], "'1,0' is no list of batch sizes"),
        (["compare", "--backend", "tpu"], "'tpu' is not one of 'auto', 'cpu'"),
        (["compare", "--threads", "0"], "0 is not in the range x>=1"),
        (["compare", "--loss", "l2"], "--loss is for steps of training: add --train"),
        (["compare", "--train", "--loss", "l3"], "'l3' is not one of 'softmax', 'sigmoid', 'l2'"),
        (["compare", "--train", "--optimizer", "adm"], "there is no optimizer 'adm'; use one of adabelief,"),
        (
            ["compare", "{nets}:doubled", "--train", "--input", "2", "--input", "2"],
            "nets.py:doubled is a function: only blocks have parameters to train",
        ),
        (["compare", "--html", "/nowhere/p.html"], "cannot write /nowhere/p.html: there is no such folder"),
        (["compare", "--plot", "p.pdf"], "write a name that ends in .png or .svg"),
        (["compare", "--json", "no/such/x.json"], "cannot write no/such/x.json: there is no such folder"),
        (["show", str(ROOT / "examples/seeds.py")], "seeds.py has several nets: write one of"),
        (["show", "{nets}:Net", "--stage", "nothing"], "'nothing' is not one of 'graph', "),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(run, nets: str, arguments: list[str], message: str) -> None:
    status, out, err = run(*(a.format(nets=nets) for a in arguments))
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("blockfuse")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "raised ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("x = = 1", "raised SyntaxError: invalid syntax"),
        ("raise SystemExit(0)", "raised SystemExit: 0 (broken.py:1)"),
        ("x = 1", "has no block and no function make...() that returns one"),
        ("INPUTS = {'net': '2x20'}", "has no net; it has no net at all"),
        ("from blockfuse import nn\nnet = nn.Dense(3)\nINPUTS = 3", "'INPUTS' is 3"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(text + "\n")
    status, out, err = run("compare", tmp_path / "broken.py")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_number_for_inputs_is_refused() -> None:
    assert parsed("2, 20:float64") == parsed("2x20:float64") == Input((2, 20), "float64")
    assert str(Input((2, 20), "float64")) == "2x20:float64"


# -- the program itself --------------------------------------------------------------------------------------


def program(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return python("-m", "blockfuse", *arguments, **settings)


@pytest.mark.long
def test_piped_output_is_plain_text_and_no_bar(nets: str) -> None:
    done = program("compare", f"{nets}:Net")
    assert done.returncode == 0
    assert ESCAPE not in done.stdout + done.stderr
    assert max(map(len, done.stdout.split("\n"))) <= 140
    assert done.stderr.replace("other programs kept this machine busy: do not trust the times\n", "") == ""


@pytest.mark.long
def test_cache_info_and_clear(nets: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    program("show", f"{nets}:Net", BLOCKFUSE_CACHE=folder)
    assert re.fullmatch(rf"{folder}: \d+ files, \d+ KiB\n", program("cache", BLOCKFUSE_CACHE=folder).stdout)
    assert re.fullmatch(r"\d+ files deleted\n", program("cache", "clear", BLOCKFUSE_CACHE=folder).stdout)
    assert program("cache", "info", BLOCKFUSE_CACHE=folder).stdout == f"{folder}: 0 files, 0 KiB\n"


def test_version_is_the_packages() -> None:
    import blockfuse

    assert program("--version").stdout == f"blockfuse {blockfuse.__version__}\n"


def test_no_command_shows_the_help() -> None:
    done = program()
    assert done.returncode == 2
    assert "compare" in done.stderr
