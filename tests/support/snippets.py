"""The text that random programs are made of (``programs``)."""

HEAD = """\
import collections
import copy
import decimal
import enum
import functools
import logging
import math
import operator
import os
import random
import numpy
from blockfuse import Parameter, autograd, nn, np, npx

FACTOR = 1.5
TABLE = {"gain": 2.0, "deep": {"shift": [0.5, 1]}}
LOOKUP = numpy.array([0.5, -1.0, 2.0], "float32")
SHARED = np.array([[2.0], [-0.5]])
COUNT = 0
SEEN = []
NUMBERS = iter(range(1000))


Pair = collections.namedtuple("Pair", "first second")
Kind = enum.Enum("Kind", "ONE TWO")


class Rate:
    def __init__(self, value):
        self.value = value

    @property
    def double(self):
        return self.value * 2

    def scaled(self, x):
        return x * self.value


class Quick(Rate):
    def scaled(self, x):
        return x * self.value + 1


PART = functools.partial(max, 1)
decimal.getcontext().prec = 28
os.environ.pop("BLOCKFUSE_PROGRAM", None)
logging.getLogger("blockfuse.programs").setLevel(logging.WARNING)


def logged(x):
    log = logging.getLogger("blockfuse.programs")
    log.debug("%s", x.shape)
    return x if log.isEnabledFor(logging.ERROR) else x * 3


def doubled(v):
    return v * 2


def halved(v):
    return v if np.abs(v).sum() < 1 else halved(v / 2)


def first_large(rows, limit=1):
    for row in rows:
        if row.sum() > limit:
            return row.sum()
    return limit


def helper(x, amount=0.5):
    return x * FACTOR + amount


def adder(amount):
    def add(x):
        return x + amount

    def change(value):
        nonlocal amount
        amount = value

    return add, change


add, change = adder(0.25)


def tick():
    global COUNT
    COUNT += 1


def watch(block, inputs, output=None):
    SEEN.append(len(inputs))


def look(block, inputs, output=None):
    return None
"""

GATE = """\


class Gate(nn.Block):
    def __init__(self):
        super().__init__()
        self.gain = Parameter("gain", shape=({width},))
        self.bonus = 1

    def forward(self, x):
{body}
"""

NET = """\


class Net(nn.Block):
    level = 2

    def __init__(self):
        super().__init__()
        self.scale = 2.0
        self.depth = 2
        self.flags = [1, 0.5, True]
        self.config = {{"a": {{"b": 3, "on": True}}, "name": "relu"}}
        self.table = numpy.array([0.5, 2.0], "float32")
        self.memory = np.zeros((2,))
        self.count = 0
        self.log = []
        self.last = None
        self.view = self.memory[:1]
        self.store = {{"m": np.ones((2,)), "t": (1, [2.0])}}
        self.items = [np.ones((1,)), 2]
        self.rate = Rate(0.5)
        self.kind = Kind.ONE
        self.act = doubled
        self.stack = nn.Sequential()
        self.stack.add(nn.LayerNorm(), nn.Activation("tanh"))
        self.weight = Parameter("weight", shape=({width},))
        self.gate = Gate()
        self.second = Gate()
        self.dense = nn.Dense({units}, activation={activation!r}, flatten=False{given})
        self.norm = nn.LayerNorm()
        self.drop = nn.Dropout(0.5)

    def method(self, x, sign=-1):
        return x * sign * self.scale

    def forward(self, x, y=None, k=1.0, extra=()):
{body}


def build():
    net = Net()
    net.initialize({init!r})
    return net
"""

# {x}: a float array
READS = (
    *("{x} * np.exp(self.weight.data())", "{x} + np.tanh(self.memory).sum()", "{x} * (SHARED * 2 + 1)"),
    *("{x} * self.rate.value", "self.rate.scaled({x})", "{x} + self.rate.double", "{x} * self.items[0]"),
    *("{x} + self.store['m'].sum()", "{x} * self.store['t'][1][0]", "{x} + self.view", "self.act({x})"),
    *("{x} * (2 if self.kind is Kind.ONE else 3)", "Pair({x}, 2).first * 2", "{x} + self.view.sum()"),
    *("halved({x})", "first_large({x}) + {x}", "{x} * len(f'{{{x}.shape}}')", "{{'a': {x}}}['a'] * 2"),
    *("max({x}.sum(), {x}.mean()) + {x}", "({x} if {x}.sum() > 0 else -{x})"),
    *("np.stack([r * 2 for r in {x}])", "{x} * any(bool(r.sum() > 1) for r in {x})"),
    *("{x} + all({x}.sum(axis=0) > 0)", "{x} * sum(self.store['t'][1])", "{x} * self.scale"),
    *("{x} + self.flags[1]", "{x} * self.config['a']['b']", "{x} + self.table[0]", "{x} * LOOKUP[1]"),
    *("{x} + LOOKUP", "{x} * FACTOR", "helper({x})", "helper({x}, amount=self.scale)", "add({x})"),
    *("{x} * TABLE['gain']", "{x} + TABLE['deep']['shift'][0]", "{x} + self.count", "{x} * k"),
    *("{x} + len(self.log)", "{x} + self.memory.sum()", "{x} * self.weight.data()", "self.method({x})"),
    *("{x} * getattr(self, 'bonus', 0.5)", "{x} * (2 if self.config['a']['on'] else 3)", "{x} * self.level"),
    *("sum([{x} * f for f in self.flags])", "numpy.tanh({x})", "numpy.concatenate([{x}, {x}])"),
    *("{x} * math.sqrt(self.depth)", "{x} * SHARED", "{x} + self.table", "{x} + self.table.sum()"),
    *("{x} + (y if y is not None else 0)", "{x} * (2 if autograd.is_training() else 1)", "{x} + COUNT"),
    *("numpy.where({x} > 0, {x}, 0)", "{x} @ self.gate.gain.data()", "{x} + np.array(self.flags)"),
    *("{x} * copy.copy(self.rate).value", "copy.deepcopy({x}) * copy.deepcopy(self.flags)[0]"),
    *("logged({x})", "{x} * PART(self.depth)", "{x} * len(list(map(operator.neg, self.flags)))"),
    *("{x} * float(decimal.Decimal(1) / 3)", "{x} * len(os.environ.get('BLOCKFUSE_PROGRAM', 'ab'))"),
    *("{x} * isinstance(extra, dict)", "{x} + len(extra)", "[r * 2 for r in {x}][0]", "{x} * {x}.shape[0]"),
)
BLOCKS = (
    *("self.stack({x})", "self.stack(self.gate({x}))", "self.stack[1]({x})", "self.gate({x})"),
    *("self.second(self.gate({x}))", "self.dense({x})", "self.norm({x})", "self.drop({x})"),
    *("self.dense(self.norm({x}))", "npx.dropout({x}, 0.25)", "self.gate({x}) + self.gate({x} * 2)"),
    *("{x} * np.random.uniform(size={x}.shape)", "{x} + np.random.normal(size=(1,))"),
)
ESCAPES = (
    *("{x} * float({x}.sum())", "{x} * {x}.sum().item()", "{x} + {x}.asnumpy().sum()"),
    *("np.stack(list({x}))", "{x} + numpy.asarray({x}).sum()", "np.array({x}.asnumpy() * 2)"),
    *("{x} * len({x}.tolist())", "{x} * bool({x}.sum() > 0)", "{x} + (1 if ({x} > 0).any() else 2)"),
    *("{x}[{x} > 0]", "{x} * len({x})", "{x}[: int(({x} > 0).sum())]", "{x} * random.random()"),
    *("{x} * numpy.random.rand()", "sum({x})", "{x} + next(NUMBERS)"),
    *("np.where({x} > 0, float({x}.max()), {x})", "{x}[np.array([0])]"),
)
HIDDEN = (
    *("self.rate.value = 3 - self.rate.value", "self.rate = Rate(0.25)", "self.view += 1"),
    *("self.view[:] = 2", "self.store['m'] += 1", "self.store['m'] = {x} * 1", "self.items.append(1)"),
    *("self.items[0] *= 2", "self.kind = Kind.TWO", "self.act = lambda v: v * 3"),
    *("self.store['t'][1].append(1.5)", "self.view = {x}[:1]", "self.count += 1", "self.log.append(1)"),
    *("self.log.append(float({x}.sum()))", "self.last = {x}", "self.config['seen'] = {x}.shape"),
    *("self.config['a']['b'] += 1", "self.table[0] += 1", "tick()", "self.memory += 1"),
    *("self.memory[:1] = 2", "TABLE['gain'] = 3.0", "change(0.75)", "SEEN.append({x})"),
    *("self.flags[0] = 1 - self.flags[0]", "self.scale = 0.5 if self.scale > 2 else self.scale * 2"),
    *("self.weight.set_data(self.weight.data() * 0.5)", "self.weight.data()[:1] = 1", "LOOKUP[0] = 3"),
    *("self.gate.bonus = 3 - self.gate.bonus", "setattr(self, 'bonus', 1.5)", "self.memory = {x} * 1"),
    *("self.log = [{x}]", "self.config.pop('name', None)", "SHARED[:1] = 1", "self.table = self.table * 2"),
)
WRITES = (
    *("{x} += 1", "{x}[:1] = 0", "{x}[{x} > 1] = 0", "{x}[..., 1:] *= 2", "{x}[:] = {x} * 2", "{x}.fill(1)"),
    *("v = {x}[..., 1:]; v *= 2", "v = {x}.reshape(-1); v[:1] = 3", "v = {x}.T; v += 1", "{x} -= {x}"),
    *("v = {x}[1:]; w = v[:1]; w[...] = 0.5", "v = np.abs({x}); w = v[:1]; v += 1; {x} = {x} + w"),
    *("{x}[[0]] = 2", "{x} *= self.scale", "{x}[:1], {x}[1:] = 1, 2", "v = [{x}, {x}]; v[0] += 1"),
    *("np.maximum({x}, 0)[:1] = 5", "{x} //= 2", "v = {x}.copy(); v[:1] = 0; {x} = v + {x}"),
)
# {x}: a fresh float array; {z}: any array of numbers
BRANCHES = (
    ("for r in {z}:", "    if r.sum() > 1:", "        break", "else:", "    {x} = {x} + 1"),
    ("while np.abs({x}).sum() > 2:", "    {x} = {x} / 2", "else:", "    {x} = {x} + 1"),
    ("for i in range(3):", "    if {z}.sum() > i:", "        continue", "    {x} = {x} + i"),
    ("if (t := {z}.sum()) > 1:", "    {x} = {x} + t"),
    ("assert {z}.sum() < 10, 'too large'",),
    ("if -2 < {z}.sum() < 2:", "    {x} = {x} * 3"),
    ("try:", "    {x} = {x} + halved({z}).sum()", "finally:", "    {x} = {x} * 2"),
    (
        "a, b = {x}, {x} + 1",
        "while b.sum() > 3:",
        "    a, b = b, a * 0.5",
        "    if a.sum() <= 3:",
        "        break",
        "{x} = a + b",
    ),
    ("while np.abs({x}).max() > 1:", "    {x} = self.act({x}) / 8"),
    ("while np.abs({x}).max() > 2:", "    {x} = {x} / 4 if {x}.sum() > 0 else {x} / 2"),
    ("i = 0", "while np.abs({x}).sum() > 1:", "    {x} = {x} / 2", "    i += 1", "{x} = {x} + i"),
    (
        "found = []",
        "for r in {z}:",
        "    if r.sum() > 0:",
        "        found.append(r.sum())",
        "{x} = {x} + len(found)",
    ),
    (
        "if {z}.sum() > 0:",
        "    {x} = {x} + 1",
        "if {z}.max() > 1:",
        "    {x} = {x} * 2",
        "if {z}.min() < -1:",
        "    {x} = -{x}",
    ),
    (
        "h = {x} * 1",
        "for n in (1, 2):",
        "    while np.abs(h).sum() > 4 / n:",
        "        h /= 2",
        "{x} = {x} + h",
    ),
    ("h = {x}", "while h.sum() > 4:", "    h = h / 2", "{x} = {x} + h"),
    ("if self.count % 2 == 0:", "    {x} = {x} + 1"),
    ("i = 0", "while i < self.depth and (np.abs({x}) > 0.5).any():", "    i += 1", "    {x} = {x} * 0.5"),
    ("for i in range(self.depth):", "    {x} = {x} + i"),
    ("for f in self.flags:", "    {x} = {x} * f"),
    ("for r in {z}:", "    {x} = {x} + r.sum()"),
    (
        "try:",
        "    if {z}.sum() > 2:",
        "        raise ValueError('large')",
        "except ValueError:",
        "    {x} = {x} * 0",
    ),
    ("if {z}.sum() > 3:", "    raise ValueError('refused')"),
    ("if {z}.shape[0] > 2:", "    {x} = {x} - 1"),
    ("if isinstance(extra, dict):", "    {x} = {x} * extra.get('gain', 1)"),
    ("for t in extra if isinstance(extra, (tuple, list)) else ():", "    {x} = {x} + t"),
    ("with autograd.train_mode():", "    {x} = self.drop({x})"),
    ("while True:", "    {x} = {x} / 2", "    if np.abs({x}).sum() < 1:", "        break"),
    (
        "while np.abs({x}).sum() > 4:",
        "    while np.abs({x}).max() > 1:",
        "        {x} = {x} / 2",
        "    {x} = {x} * 0.5",
    ),
    ("if {z}.sum() > 0 and not {z}.max() > 2:", "    {x} = self.gate({x})", "else:", "    {x} = {x} - 1"),
    ("if {z}.sum() > 0:", "    return {x} * 2"),
    ("if {z}.min() < -1:", "    self.count += 1", "    {x} = {x} + self.count"),
    ("if {z}.min() < 0:", "    {x} += 1", "else:", "    {x}[:1] = 0"),
    ("n = np.array(0)", "while n < 3:", "    n += 1", "    {x} = {x} + n"),
    (
        "total = 0.0",
        "for r in {z}:",
        "    if r.sum() > 0:",
        "        total = total + r.sum()",
        "{x} = {x} + total",
    ),
    ("if k > 1:", "    {x} = {x} * k"),
    ("if y is not None:", "    {x} = {x} + y.sum()"),
    ("def inner(v):", "    return v * 2 if v.sum() > 0 else v", "{x} = inner({x})"),
    ("done = {z}.sum() > 1", "while not done:", "    {x} = {x} * 0.5", "    done = np.abs({x}).sum() < 2"),
)
RESULTS = (
    *("{x}", "{x}", "{x}", "{x}", "{x}, {z}", "[{x}, {{'z': {z}}}]", "{x}, 1, 'text'", "x", "{x}[:1]"),
    *("({x}, {x})", "{x}, {x}.reshape(-1)", "self.memory", "self.weight.data()", "{x}, self.flags", "{x}.T"),
    *("float({x}.sum())", "{x}, extra", "{x}, None", "self.last", "{x} + 0", "{x}, x", "{z}, x + 1"),
    *("{x}.sum()", "np.broadcast_to({x}, (2, *{x}.shape))", "{{'a': {x}, 'b': [k, {z}]}}"),
    *("{x}.copy(), {x}", "{x} > 0"),
)
# For the argument ``extra``; the first one of each row is what the samples have.
EXTRAS = (
    ("()", "()", "[]"),
    ("(np.array([0.5]), 2)", "(np.array([0.25]), 3)", "(np.array([0.5]),)", "[1, 2]"),
    ("{'gain': np.array(2.0), 'deep': [1, (2, None)]}", "{'gain': 3.0}", "{}", "{'deep': np.array([1.0])}"),
    ("[np.array([2.0]), np.array([0.5])]", "[1.5, 2]", "(1.5,)", "['text']"),
)
