"""C by hand: an extension module for one net of dense layers, which its author compiles for this processor and these sizes.

It is the floor of a call from Python: what is left is parsing one argument, making one array of NumPy, and loops that the C
compiler makes vectors of. Weights are turned beforehand and lie on lines of the cache.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import numpy

from benchmarks import nets
from benchmarks.contender import UnsupportedNetError, Way

_LAYER = """
static void layer{n}(const float *restrict x, float *restrict out, const float *restrict w, const float *restrict b) {{
    for (int r = 0; r < {rows}; r += {tall}) {{
        for (int p = 0; p < {panels}; p++) {{
            const lanes *panel = (const lanes *)w + p * {inner} * {wide}, *bias = (const lanes *)b + p * {wide};
            lanes sums[{tall}][{wide}];
            for (int i = 0; i < {tall}; i++) for (int v = 0; v < {wide}; v++) sums[i][v] = bias[v];
            for (int k = 0; k < {inner}; k++)
                for (int i = 0; i < {tall}; i++) {{
                    const float scalar = x[(r + i) * {inner} + k];
                    for (int v = 0; v < {wide}; v++) sums[i][v] += scalar * panel[k * {wide} + v];
                }}
            const int first = p * {wide} * 8, columns = {units} - first < {wide} * 8 ? {units} - first : {wide} * 8;
            for (int i = 0; i < {tall}; i++) for (int c = 0; c < columns; c++) {{
                const float sum = ((const float *)sums[i])[c];
                out[(r + i) * {units} + first + c] = {result};
            }}
        }}
    }}
}}
"""

_MODULE = """
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
typedef float lanes __attribute__((vector_size(32), aligned(32)));
{layers}
static const float *parameters[{count}];
static float memory[2][{widest}] __attribute__((aligned(64)));

static PyObject *load(PyObject *self, PyObject *arrays) {{
    for (int n = 0; n < {count}; n++)
        parameters[n] = PyArray_DATA((PyArrayObject *)PyTuple_GET_ITEM(arrays, n));
    Py_RETURN_NONE;
}}

static PyObject *call(PyObject *self, PyObject *const *args, Py_ssize_t n) {{
    PyArrayObject *x = (PyArrayObject *)args[0];
    if (n != 1 || !PyArray_CheckExact(x) || PyArray_TYPE(x) != NPY_FLOAT || PyArray_NDIM(x) != 2
        || PyArray_DIM(x, 0) != {rows} || PyArray_DIM(x, 1) != {inner} || !PyArray_IS_C_CONTIGUOUS(x)) {{
        PyErr_SetString(PyExc_TypeError, "expected a contiguous float32 array of the net's shape");
        return NULL;
    }}
    npy_intp shape[2] = {{{rows}, {units}}};
    PyArrayObject *out = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_FLOAT);
    if (!out) return NULL;
{calls}
    return (PyObject *)out;
}}

static PyMethodDef methods[] = {{{{"call", (PyCFunction)call, METH_FASTCALL, 0}}, {{"load", load, METH_O, 0}}, {{0}}}};
static struct PyModuleDef definition = {{PyModuleDef_HEAD_INIT, "{name}", 0, -1, methods}};
PyMODINIT_FUNC PyInit_{name}(void) {{ import_array(); return PyModule_Create(&definition); }}
"""


def build(net: nets.Net, threads: int) -> list[Way]:
    if net.forward not in (nets.layers, nets.dense_relu):
        raise UnsupportedNetError("nobody wrote it in C")
    x, drawn = net.draw()
    packed = tuple(_packed(p, _tile(net.shape[0])[1]) for p in drawn)
    module = _compiled(_source(net, drawn))
    module.load(packed)
    return [Way("call(x)", {"call": module.call, "x": x, "kept": packed}, arrays="both")]


_LANES = 8  # of a vector of the C code


def _tile(rows: int) -> tuple[int, int]:
    """Rows and vectors beside each other whose sums stay in registers: eight to twelve."""
    tall = next(n for n in (6, 4, 3, 2, 1) if rows % n == 0)
    return tall, {1: 8, 2: 4, 3: 4, 4: 2, 6: 2}[tall]


def _packed(parameter: numpy.ndarray, wide: int) -> numpy.ndarray:
    """A weight in panels of columns, filled up with zeros; on a line of the cache. wide: vectors of a panel."""
    columns = wide * _LANES
    units = -(-len(parameter) // columns) * columns
    whole = numpy.zeros((units, *parameter.shape[1:]), numpy.float32)
    whole[: len(parameter)] = parameter
    if parameter.ndim == 2:
        whole = whole.reshape(-1, columns, parameter.shape[1]).transpose(0, 2, 1)
    memory = numpy.empty(whole.nbytes + 64, numpy.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + whole.nbytes].view(numpy.float32).reshape(whole.shape)
    aligned[...] = whole
    return aligned


def _source(net: nets.Net, parameters: list[numpy.ndarray]) -> str:
    rows, weights = net.shape[0], parameters[::2]
    tall, wide = _tile(rows)
    layers, calls = [], []
    for n, weight in enumerate(weights):
        units, inner = weight.shape
        is_last = n == len(weights) - 1
        sizes = {"rows": rows, "tall": tall, "wide": wide, "units": units, "inner": inner}
        result = "sum" if is_last and net.forward is nets.layers else "sum > 0 ? sum : 0"
        layers.append(_LAYER.format(n=n, panels=-(-units // (wide * _LANES)), result=result, **sizes))
        before = f"memory[{n % 2}]" if n else "PyArray_DATA(x)"
        after = "PyArray_DATA(out)" if is_last else f"memory[{(n + 1) % 2}]"
        calls.append(f"    layer{n}({before}, {after}, parameters[{2 * n}], parameters[{2 * n + 1}]);")
    return _MODULE.format(
        layers="".join(layers),
        calls="\n".join(calls),
        count=len(parameters),
        widest=rows * max(len(w) for w in weights),
        rows=rows,
        inner=net.shape[1],
        units=len(weights[-1]),
        name="net_by_hand",
    )


def _compiled(source: str) -> Any:
    """The module, by the C compiler of the machine."""
    folder = Path(tempfile.mkdtemp(prefix="by-hand-"))
    path, made = folder / "net.c", folder / "net_by_hand.so"
    path.write_text(source, encoding="utf-8")
    include = [f"-I{sysconfig.get_path('include')}", f"-I{numpy.get_include()}"]
    # With -ffast-math a library that is loaded lets the whole process flush subnormals to zero.
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
    try:
        subprocess.run(
            ["cc", *flags, *include, str(path), "-o", str(made)], check=True, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise UnsupportedNetError("there is no C compiler") from error
    except subprocess.CalledProcessError as error:
        raise UnsupportedNetError(f"the C compiler says {error.stderr.splitlines()[0]}") from error
    spec = importlib.util.spec_from_file_location("net_by_hand", made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
