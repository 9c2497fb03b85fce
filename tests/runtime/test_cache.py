"""The cache of compiled code: nothing that is damaged or that others may have written ever runs."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy
import pytest
from graphs import Memory, graph

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen import store
from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.ir.errors import UsageError
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import contractions, pointwise
from blockfuse.runtime.programs import disk_cache
from blockfuse.runtime.programs.disk_cache import DiskCache

KEY, OTHER = "a1" * 32, "b2" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("??/*")
    return path


def test_what_was_put_is_got_by_another_process(folder: Path) -> None:
    DiskCache(folder).put(KEY, b"code")
    assert DiskCache(folder).get(KEY) == b"code"
    assert DiskCache(folder).get(OTHER) is None
    assert folder.stat().st_mode & 0o077 == 0
    assert file_of(folder).stat().st_mode & 0o077 == 0


def test_what_is_put_twice_is_the_newer(folder: Path) -> None:
    cache = DiskCache(folder)
    cache.put(KEY, b"old")
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"


@pytest.mark.parametrize("damage", [b"", b"blockfuse", b"x" * 100], ids=["empty", "cut", "other"])
def test_a_damaged_file_is_ignored_and_removed(folder: Path, damage: bytes) -> None:
    DiskCache(folder).put(KEY, b"code")
    path = file_of(folder)
    path.write_bytes(damage)
    assert DiskCache(folder).get(KEY) is None
    assert not path.exists()


def test_one_changed_bit_is_found(folder: Path) -> None:
    DiskCache(folder).put(KEY, b"code")
    path = file_of(folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert DiskCache(folder).get(KEY) is None


def test_a_file_in_the_place_of_another_is_not_taken(folder: Path) -> None:
    cache = DiskCache(folder)
    cache.put(KEY, b"code")
    cache.put(OTHER, b"other")
    (folder / OTHER[:2] / OTHER[2:]).replace(folder / KEY[:2] / KEY[2:])
    assert cache.get(KEY) is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_refused_with_one_warning(folder: Path, mode: int) -> None:
    DiskCache(folder).put(KEY, b"code")
    folder.chmod(mode)
    cache = DiskCache(folder)
    with pytest.warns(RuntimeWarning, match="others may write") as caught:
        assert cache.get(KEY) is None
    assert len(caught) == 1
    assert_silent(cache)


def test_a_file_that_others_may_write_is_refused_with_one_warning(folder: Path) -> None:
    DiskCache(folder).put(KEY, b"code")
    file_of(folder).chmod(0o666)
    cache = DiskCache(folder)
    with pytest.warns(RuntimeWarning, match="others may write") as caught:
        assert cache.get(KEY) is None
    assert len(caught) == 1
    assert_silent(cache)


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match="cannot make") as caught:
        cache.put(KEY, b"code")
    assert len(caught) == 1
    assert_silent(cache)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_done_without(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        DiskCache(folder).put(KEY, b"code")


@pytest.fixture
def _as_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process has made is root's, and it runs as somebody who may not write that."""
    monkeypatch.setattr(disk_cache, "_ROOT", os.getuid())
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(os, "access", lambda *_: False)


@pytest.mark.usefixtures("_as_another_user")
def test_a_cache_of_root_is_read_and_left_as_it_is(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_: True)
        DiskCache(folder).put(KEY, b"code")
    cache = DiskCache(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get(KEY) == b"code"
        assert cache.get(OTHER) is None
    with pytest.warns(
        RuntimeWarning, match=r"lacks code that was asked for: call warm_up\(\) .* BLOCKFUSE_CACHE"
    ) as caught:
        cache.put(OTHER, b"other")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(OTHER, b"other")
        assert cache.get(KEY) == b"code"
        assert cache.get(OTHER) is None
    assert len(list(folder.glob("??/*"))) == 1


@pytest.mark.usefixtures("_as_another_user")
def test_a_cache_of_root_that_others_may_write_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o775)
    folder.chmod(0o775)
    with pytest.warns(RuntimeWarning, match=r"others may write .*chmod -R a\+rX,go-w"):
        assert DiskCache(folder).get(KEY) is None


def test_a_cache_of_another_user_is_refused_with_the_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DiskCache(folder).put(KEY, b"code")
    monkeypatch.setattr(disk_cache, "_ROOT", -1)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    cache = DiskCache(folder)
    cure = r"belongs to another user \(number \d+\)\. .*chown -R root .* or name a folder of this user's in BLOCKFUSE_CACHE"
    with pytest.warns(RuntimeWarning, match=cure) as caught:
        assert cache.get(KEY) is None
    assert len(caught) == 1
    assert_silent(cache)


def test_a_file_of_another_user_in_a_folder_of_root_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DiskCache(folder).put(KEY, b"code")
    cache = DiskCache(folder)
    assert cache.get(KEY) == b"code"
    monkeypatch.setattr(disk_cache, "_ROOT", -1)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert cache.get(KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_runs_what_root_has_compiled() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        DiskCache(folder / "cache").put(KEY, b"code")
        answers = [_read_by_nobody(folder / "cache")]
        for path in (folder, folder / "cache", *(folder / "cache").rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        answers.append(_read_by_nobody(folder / "cache"))
    finally:
        shutil.rmtree(folder)
    refused, read = answers
    assert refused.startswith("None cannot make") or "must not be read by this user" in refused
    assert read == "b'code' "


def _read_by_nobody(folder: Path) -> str:
    """What a user who is nobody finds, and the problem."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            with warnings.catch_warnings(action="ignore"):
                cache = DiskCache(folder)
                os.write(write, f"{cache.get(KEY)!r} {cache.problem}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answers:
        return answers.read()


def assert_silent(cache: DiskCache) -> None:
    """Neither kept nor warned about again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(KEY, b"code")
        assert cache.get(KEY) is None
    assert cache.info().problem


def test_a_disk_that_fills_leaves_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        DiskCache(folder).put(KEY, b"code")
    assert not list(folder.glob("??/*"))


def test_info_and_clear(folder: Path) -> None:
    cache = DiskCache(folder)
    cache.put(KEY, b"code")
    cache.put(OTHER, b"other")
    info = cache.info()
    assert (info.folder, info.files, info.problem) == (folder, 2, "")
    assert info.size == sum(f.stat().st_size for f in folder.glob("??/*"))
    assert cache.clear() == 2
    assert cache.get(KEY) is None
    assert cache.info().files == 0


def _write_often(folder: Path, letter: bytes) -> None:
    cache = DiskCache(folder)
    for _ in range(200):
        cache.put(KEY, letter * 100_000)
        found = cache.get(KEY)
        assert found is not None
        assert found in (b"a" * 100_000, b"b" * 100_000)


@pytest.mark.long
def test_a_home_that_must_not_be_read_gives_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(Path, "is_dir", refused)
    found = DiskCache(folder).info()
    assert (found.files, found.size) == (0, 0)
    assert found.problem.startswith(f"cannot make {folder}: Permission denied. Only code of this user's")


def test_files_that_must_not_be_deleted_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    cache = DiskCache(folder)
    cache.put("abcdef", b"code")
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(UsageError, match=r"cannot delete .*cdef: Permission denied"):
        cache.clear()


def test_two_processes_may_write_at_once(folder: Path) -> None:
    processes = [
        get_context("spawn").Process(target=_write_often, args=(folder, letter)) for letter in (b"a", b"b")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(folder.glob("??/*"))) == 1


# -- keys ------------------------------------------------------------------------------------------------------


def keys(recorded: Graph, level: str = "", threads: int = 1) -> set[str]:
    """The keys under which a program and its kernels are kept."""
    machine = isa.machine(level, threads)
    memory = Memory()
    Executable(compile_flow(recorded, machine).schedule, machine, memory, ndarray, UNUSUAL)
    return set(memory)


def doubled(type: str) -> Graph:
    return graph(lambda x: x + x, x=type)


def test_equal_programs_have_equal_keys() -> None:
    assert keys(doubled("float32[8]")) == keys(doubled("float32[8]"))


def test_keys_change_with_sources_dtypes_and_features() -> None:
    first = keys(doubled("float32[8, 3]"))
    assert len(first) == 2
    assert not first & keys(graph(lambda x: x * x, x="float32[8, 3]"))
    assert not first & keys(doubled("float64[8, 3]"))
    assert not first & keys(doubled("int32[8, 3]"))
    assert not first & keys(doubled("float32[8, 3]"), "baseline")


def test_a_kernel_of_another_size_is_the_same_kernel() -> None:
    assert len(keys(doubled("float32[8]")) & keys(doubled("float32[9]"))) == 1


@pytest.mark.parametrize(
    "place", ["schedule.py", "meaning/kernels.py", "cpu/render.py", "cpu/deep/down/new.py"]
)
def test_keys_change_with_any_file_of_the_generator(tmp_path: Path, place: str) -> None:
    shutil.copytree(Path(store.__file__).parent, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    (tmp_path / "other" / place).parent.mkdir(parents=True, exist_ok=True)
    with (tmp_path / "other" / place).open("a") as file:
        file.write("# changed")
    assert store.generator_version("cpu", tmp_path / "one") == store.generator_version("cpu")
    assert store.generator_version("cpu", tmp_path / "other") != store.generator_version("cpu")
    alike = store.generator_version("cuda", tmp_path / "other") == store.generator_version("cuda")
    assert alike == place.startswith("cpu/")


# -- a second process ------------------------------------------------------------------------------------------

PROGRAM = textwrap.dedent(
    """
    import sys, numpy
    import blockfuse as bf

    net = bf.gluon.nn.Sequential()
    net.add(bf.gluon.nn.Dense(8, activation="relu", in_units=4), bf.gluon.nn.Dense(3, in_units=8))
    net.initialize()
    x = bf.np.ones((2, 4))
    eager = net(x).asnumpy()
    net.hybridize()
    for _ in range(3):
        assert numpy.allclose(net(x).asnumpy(), eager)
    assert net._entry is not None
    print("numba" in sys.modules)
    """
)


def run(folder: Path) -> bool:
    """Whether a process that compiles a small net imports Numba."""
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "BLOCKFUSE_CACHE": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that a first process has filled."""
    folder = tmp_path_factory.mktemp("warm") / "cache"
    assert run(folder)
    return folder


def test_a_second_process_runs_without_numba(warm: Path) -> None:
    assert not run(warm)


@pytest.mark.long
def test_a_second_process_compiles_what_was_damaged(warm: Path) -> None:
    for path in warm.glob("??/*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert run(warm)
    assert not run(warm)


def test_programs_run_without_a_cache() -> None:
    class Nothing:
        def get(self, _: str) -> bytes | None:
            return None

        def put(self, _: str, __: bytes) -> None:
            pass

    machine = isa.machine()
    recorded = graph(
        lambda x, w: pointwise.tanh(contractions.dense(x, w)), x="float32[2, 3]", w="float32[4, 3]"
    )
    plan = compile_flow(recorded, machine).schedule
    values = [numpy.ones(i.shape, "float32") for i in recorded.inputs]
    (found,) = Executable(plan, machine, Nothing(), ndarray, UNUSUAL).run(values)
    numpy.testing.assert_allclose(found, numpy.full((2, 4), numpy.tanh(3.0)), rtol=1e-6)
