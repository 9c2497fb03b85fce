"""What known code asks of the settings of the process, and how to ask it again before every call."""

from __future__ import annotations

import abc
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from blockfuse.tracer.code.naming import GLOBAL, named_in

Question = tuple[Callable[[], Any], str]  # what is asked, and what it is for people

LEVELS = ("debug", "info", "warning", "warn", "error", "critical", "exception", "fatal", "log")


def _asks_abc(_: types.FrameType) -> list[Question]:
    return [(abc.get_cache_token, "what is registered with abstract classes")]


def _asks_level(frame: types.FrameType) -> list[Question]:
    logger, level = frame.f_locals["self"], frame.f_locals["level"]
    return [(partial(logger.isEnabledFor, level), f"whether {logger} logs")]


def _asks_effective_level(frame: types.FrameType) -> list[Question]:
    logger = frame.f_locals["self"]
    return [(logger.getEffectiveLevel, f"the level of {logger}")]


def _asks_handlers(_: types.FrameType) -> list[Question]:
    root = sys.modules["logging"].root
    return [(lambda: bool(root.handlers), "whether logging is set up")]


def _asks_logger(frame: types.FrameType) -> list[Question]:
    known, name = frame.f_locals["self"].loggerDict, frame.f_locals["name"]
    return [(partial(known.get, name), f"the logger {name}")]


def _asks_environment(frame: types.FrameType) -> list[Question]:
    environ, key = frame.f_locals["self"], frame.f_locals["key"]
    return [(partial(environ._data.get, environ.encodekey(key)), f"the environment variable {key}")]


def _asks_whole_environment(frame: types.FrameType) -> list[Question]:
    environ = frame.f_locals["self"]
    return [(lambda: dict(environ._data), "the environment")]


def _asks_copying(_: types.FrameType) -> list[Question]:
    copyreg = sys.modules["copyreg"]
    return [(lambda: tuple(copyreg.dispatch_table.items()), "how copyreg copies")]


def _asks_annotations(frame: types.FrameType) -> list[Question]:
    function = frame.f_locals.get("func", frame.f_locals.get("obj"))
    return [(lambda: [(k, id(v)) for k, v in _annotations(function).items()], f"annotations of {function}")]


def _annotations(function: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(function, "__annotations__", None) or {}
    return found


ASKS: dict[tuple[str, str], Callable[[types.FrameType], list[Question]]] = {
    ("abc", "ABCMeta.__instancecheck__"): _asks_abc,
    ("abc", "ABCMeta.__subclasscheck__"): _asks_abc,
    ("functools", "singledispatch.<locals>.dispatch"): _asks_abc,
    ("logging", "Logger.isEnabledFor"): _asks_level,
    ("logging", "Logger.getEffectiveLevel"): _asks_effective_level,
    ("logging", "Manager.getLogger"): _asks_logger,
    **{("logging", name): _asks_handlers for name in LEVELS},
    ("os", "_Environ.__getitem__"): _asks_environment,
    ("os", "_Environ.__iter__"): _asks_whole_environment,
    ("os", "_Environ.__len__"): _asks_whole_environment,
    ("copy", "copy"): _asks_copying,
    ("copy", "deepcopy"): _asks_copying,
    ("inspect", "_signature_from_function"): _asks_annotations,
    ("inspect", "get_annotations"): _asks_annotations,
}


# -- C functions that do nothing as long as a setting says so ----------------------------------------------------


def idle(function: Any, frame: types.FrameType) -> list[Question]:
    """What must stay true so that a C function, which is not known otherwise, did nothing when it was called here."""
    if function is not warnings.warn:
        return []
    categories = _categories(frame) or [UserWarning]
    return [(partial(is_ignored, c), f"whether warnings of {c.__name__} are ignored") for c in categories]


def is_ignored(category: type[Warning]) -> bool:
    """Whether the filters ignore all warnings of a category, whatever they say and wherever they come from."""
    for action, message, kind, module, line in warnings.filters:
        if issubclass(category, kind):
            if action != "ignore":
                return False
            if not (message or module or line):
                return True
    return False


def _categories(frame: types.FrameType) -> list[type[Warning]]:
    """Of the warnings that are named on the line where ``frame`` is."""
    names = [n.name for n in named_in(frame.f_code) if n.line == frame.f_lineno and n.scope == GLOBAL]
    values = [frame.f_globals.get(name, frame.f_builtins.get(name)) for name in names]
    return [v for v in values if isinstance(v, type) and issubclass(v, Warning)]
