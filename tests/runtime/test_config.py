"""Settings: one row, one sentence and one test each."""

import os
from pathlib import Path

import pytest

from blockfuse.ir.errors import UsageError
from blockfuse.runtime import config


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in config.SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)


def test_every_setting_has_a_name_a_default_and_a_sentence() -> None:
    for setting in config.SETTINGS:
        assert setting.name.startswith("BLOCKFUSE_")
        assert setting.sentence.endswith(".")
        setting.read(setting.default)


def test_threads_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "processors_granted", lambda: None)
    assert config.threads() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("BLOCKFUSE_THREADS", "3")
    assert config.threads() == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²", " "])
def test_threads_are_a_whole_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("BLOCKFUSE_THREADS", text)
    with pytest.raises(UsageError, match=r"BLOCKFUSE_THREADS is .* whole number"):
        config.threads()


def test_the_cache_is_where_users_keep_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert config.cache_folder() == Path("/home/someone/.cache/blockfuse")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/someone")
    assert config.cache_folder() == Path("/var/someone/blockfuse")
    monkeypatch.setenv("BLOCKFUSE_CACHE", "/elsewhere")
    assert config.cache_folder() == Path("/elsewhere")


def test_the_cache_of_a_user_without_a_home_is_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert config.cache_folder().name == f"blockfuse-{os.getuid()}"


def test_kept_memory_is_a_whole_number_of_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.kept_bytes() == 64 << 20
    monkeypatch.setenv("BLOCKFUSE_KEEP", "0")
    assert config.kept_bytes() == 0
    monkeypatch.setenv("BLOCKFUSE_KEEP", "64M")
    with pytest.raises(UsageError, match="BLOCKFUSE_KEEP is '64M'"):
        config.kept_bytes()


def test_levels_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.isa_level() == ""
    for level in ("avx512", "avx2", "baseline"):
        monkeypatch.setenv("BLOCKFUSE_ISA", level)
        assert config.isa_level() == level
    monkeypatch.setenv("BLOCKFUSE_ISA", "sse")
    with pytest.raises(UsageError, match="BLOCKFUSE_ISA is 'sse'; it may be"):
        config.isa_level()


def test_architectures_are_names_of_compute_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.cuda_architecture() is None
    for text, capability in (("sm_80", (8, 0)), ("sm_90", (9, 0)), ("sm_100", (10, 0))):
        monkeypatch.setenv("BLOCKFUSE_CUDA_ARCH", text)
        assert config.cuda_architecture() == capability
    monkeypatch.setenv("BLOCKFUSE_CUDA_ARCH", "hopper")
    with pytest.raises(UsageError, match="BLOCKFUSE_CUDA_ARCH is 'hopper'; it may be"):
        config.cuda_architecture()
