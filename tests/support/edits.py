"""The text of what people do between calls of a random program (``test_fuzz``)."""

# for the argument ``k``; the last ones seldom
NUMBERS = (*("1.0", "2", "2.0", "-1.5", "True", "0", "0.0", "-0.0", "None", "'text'"),)
ATTRIBUTES = (
    *("net.rate.value = 2.0", "net.rate = program.Rate(4)", "net.view[:] = 3"),
    *("net.view = net.weight.data()[:1]", "net.store['m'][:1] = 5", "net.store['t'] = (1, [0.5])"),
    *("net.items[0] = np.array([3.0])", "net.items.pop()", "net.kind = program.Kind.TWO"),
    *("net.act = program.add", "net.act = lambda v: v - 1", "net.memory = net.view", "net.rate.double = 3"),
    *("program.Rate.double = property(lambda self: 7)", "net.store['t'][1][0] = 6", "net.scale = 3.0"),
    *("net.scale = 3", "net.scale = np.array(0.5)", "net.depth = 3", "net.depth = 0"),
    *("net.flags = [2, 0.25]", "net.flags[1] = 4.0", "net.flags.append(0.5)", "net.flags = (1, 2.0)"),
    *("net.config['a']['b'] = 5", "net.config['a'] = {'b': 1.5, 'on': False}"),
    *("net.config['a']['on'] = False", "net.table[0] = 9", "net.table *= 2", "net.table = net.table + 1"),
    *("net.table = net.table.astype('float64')", "net.memory += 1", "net.memory[:1] = 4"),
    *("net.memory = np.ones((2,))", "net.memory = net.memory.T", "net.count = 7", "net.log = [1, 2]"),
    *("net.log.clear()", "net.bonus = 2.5", "net.gate.bonus = 4", "net.level = 5", "program.Net.level = 3"),
    *("program.Gate.bonus = 9", "del net.level", "del net.bonus", "net.last = None"),
    *("vars(net.gate).pop('missing', None)", "net.gate.bonus = np.array([0.5])"),
    *("net.rate.__class__ = program.Quick", "net.rate.__dict__ = {'value': 6}"),
)
GLOBALS = (
    *("program.halved = program.add", "program.first_large.__defaults__ = (3,)"),
    *("program.Rate = program.Gate", "program.FACTOR = 3.0", "program.FACTOR = np.array(2.0)"),
    *("program.TABLE['gain'] = 0.5", "program.COUNT = 4", "program.TABLE['deep']['shift'][0] = 2"),
    *("program.TABLE = {'gain': 4.0, 'deep': {'shift': [1]}}", "program.LOOKUP[1] = 9"),
    *("program.LOOKUP = program.LOOKUP * 2", "program.SHARED += 1", "program.change(2.0)"),
    *("program.SHARED[0] = 3", "program.helper.__defaults__ = (0.75,)", "program.helper = program.add"),
    *("program.SEEN = []", "program.Net.method = lambda self, x, sign=1: x + sign"),
    *("program.math = program.numpy", "program.tick()", "program.add, program.change = program.adder(1.5)"),
    *("program.SHARED = np.array([1.0])", "program.logging.getLogger('blockfuse.programs').setLevel(60)"),
    *("program.decimal.getcontext().prec = 2", "program.decimal.getcontext().prec = 28"),
    *("program.os.environ['BLOCKFUSE_PROGRAM'] = 'abc'", "program.os.environ.pop('BLOCKFUSE_PROGRAM', None)"),
    *("program.PART = program.functools.partial(min, 1)",),
)
PARAMETERS = (
    *("net.weight", "net.gate.gain", "net.second.gain", "net.dense.weight", "net.dense.bias"),
    *("net.norm.gamma",),
)
# {p}: a parameter
EDITS = (
    *("{p}.set_data(np.ones({p}.shape) * 0.5)", "{p}.data()[:] = 2", "{p}.data()[:1] += 1"),
    *("{p}.data()[...] *= 0.5", "{p}.cast('float64')", "{p}.cast('float32')"),
    *("{p}.initialize('ones', force_reinit=True)", "{p}.zero_grad()", "net.cast('float64')"),
    *("net.initialize('normal', force_reinit=True)", "{p}.lr_mult = 0.5"),
    *("net.second.share_parameters(net.gate.collect_params())", "net.second.gain = net.gate.gain"),
    *("net.weight = net.gate.gain", "net.weight.set_data(net.gate.gain.data())"),
    *("view = {p}.data()[:1]; view += 1", "numpy.asarray({p}.data())"),
    *("net.gate.gain.set_data(np.ones((99,)))", "{p}.grad_req = 'null'"),
)
BLOCKS = (
    *("net.stack.add(nn.Dense(2, flatten=False)); net.stack.initialize()", "net.stack.add(program.Gate())"),
    *("net.stack = nn.Sequential(); net.stack.add(nn.Identity())", "net.second.gain.initialize('ones')"),
    *("net.gate = program.Gate(); net.gate.initialize('ones')", "net.gate = net.second"),
    *("net.second = program.Gate()", "net.drop = nn.Dropout(0.25)", "net.norm = nn.Identity()"),
    *("net.extra = nn.Dense(2)", "net.dense = net.gate"),
    *("net.dense = nn.Dense(2, flatten=False); net.dense.initialize('ones')", "net.drop = nn.Identity()"),
)
# {h}: a function
HOOKS = (
    *("handle = net.register_forward_hook(program.{h})",),
    *("handle = net.gate.register_forward_hook(program.{h})",),
    *("handle = net.register_forward_pre_hook(program.{h})",),
    *("handle = net.second.register_forward_pre_hook(program.{h})", "handle.detach()", "handle.detach()"),
)
# {call}: a call
MODES = (
    *("{call}", "{call}", "with program.autograd.train_mode():\n    {call}"),
    *("with program.autograd.predict_mode():\n    {call}",),
)
COPIES = (
    *("net, old = copy.deepcopy(net), net", "net, old = pickle.loads(pickle.dumps(net)), net"),
    *("net, old = old, net", "kept.append(net); net = copy.copy(net)"),
)
# for the hybridized twin alone
REHYBRIDIZE = (
    *("net.hybridize()", "net.hybridize(False)", "net.gate.hybridize()", "net.hybridize(threads=1)"),
    *("net.hybridize()", "net.second.hybridize(False)", "net.hybridize(audit=1)"),
    *("net.hybridize(audit=0.5)",),
)
IN_PLACE = (
    *("x = net.memory", "x = net.weight.data()", "x = net.store['m']", "y = net.view", "x = net.items[0]"),
    *("x += 1", "x[:1] = 2", "x *= 0", "x[...] = 0.5", "x = x[:1]", "x = x * 1", "x = -x"),
    *("x = np.array(x)", "y = x", "y = x[:1]", "y = None", "x = y if y is not None else x", "x = x.T"),
    *("result[...] = 7", "x = result", "kept.append(result)", "kept.append(result)", "kept.clear()"),
    *("result += 1", "x[0] = -x[0]"),
)
# {0}: a NumPy array of {1}; {strided}, {place}: one twice as large, and every second element of it
FORMS = (
    *("np.array({}, dtype={!r})", "np.array({}, dtype={!r})", "np.array({}, dtype={!r})"),
    *("np.array({}, dtype={!r})", "{0}", "{0}", "{strided}[{place}]"),
    *("np.array({strided}, dtype={1!r})[{place}]", "{0}.astype({0}.dtype.newbyteorder())"),
    *("{0}[::-1] if {0}.ndim else {0}", "numpy.asfortranarray({0})"),
    *("numpy.broadcast_to({0}[:1], {0}.shape)", "{0}.tolist()", "np.array({0}.T, dtype={1!r}).T"),
    *("numpy.ma.masked_array({0})", "numpy.matrix(numpy.ones((2, 2)))"),
)
