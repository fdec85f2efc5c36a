"""Uses libsoftmax from Python by ctypes, and compares every operator on NumPy arrays with float64 arithmetic."""

import ctypes
import sys

import numpy as np

lib = ctypes.CDLL(sys.argv[1])
size_t, pointer = ctypes.c_size_t, ctypes.c_void_p
lib.smx_isa_name.restype = lib.smx_status_message.restype = lib.smx_version.restype = ctypes.c_char_p
lib.smx_online_logsumexp_f32.restype = ctypes.c_float

OK, NULL, SHAPE, OVERLAP, PARAM, ISA = range(6)


class Mask(ctypes.Structure):
    _fields_ = [
        ("size", size_t),
        ("scale", ctypes.c_float),
        ("softcap", ctypes.c_float),
        ("alibi_slope", ctypes.c_float),
        ("additive", pointer),
        ("additive_stride", size_t),
        ("keep", pointer),
        ("keep_stride", size_t),
        ("causal", ctypes.c_bool),
        ("causal_offset", ctypes.c_ssize_t),
        ("queries", size_t),
        ("window", size_t),
        ("lengths", pointer),
        ("sinks", pointer),
        ("fully_masked", ctypes.c_int),
    ]

    def __init__(self, scale=1, **fields):
        super().__init__(ctypes.sizeof(Mask), scale, **fields)


class CrossEntropy(ctypes.Structure):
    _fields_ = [
        ("size", size_t),
        ("label_smoothing", ctypes.c_float),
        ("ignore_index", ctypes.c_int64),
        ("class_weights", pointer),
        ("reduction", ctypes.c_int),
    ]

    def __init__(self, **fields):
        super().__init__(ctypes.sizeof(CrossEntropy), **fields)


def call(name, *arguments):
    """Arrays as their addresses, integers as size_t."""
    passed = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            argument = pointer(argument.ctypes.data)
        elif isinstance(argument, int):
            argument = size_t(argument)
        passed.append(argument)
    return getattr(lib, "smx_" + name)(*passed)


def must(name, *arguments):
    status = call(name, *arguments)
    if status:
        raise ValueError(f"{name}: {lib.smx_status_message(status).decode()}")


class Float:
    """An element type: how NumPy stores it, and how to go to and from float64."""

    def __init__(self, suffix, storage, result, tolerance):
        self.suffix, self.storage, self.result, self.tolerance = suffix, storage, result, tolerance

    def store(self, values):
        if self.suffix == "bf16":
            return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return np.ascontiguousarray(values, self.storage)

    def load(self, stored):
        if self.suffix == "bf16":
            return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return stored.astype(np.float64)

    def near(self, stored, expected):
        np.testing.assert_allclose(self.load(stored), expected, rtol=self.tolerance, atol=self.tolerance)


TYPES = [
    Float("f32", np.float32, np.float32, 2e-6),
    Float("f64", np.float64, np.float64, 1e-14),
    Float("f16", np.float16, np.float32, 1e-3),
    Float("bf16", np.uint16, np.float32, 8e-3),
]


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis=-1):
    return x - logsumexp(x, axis, True)


def logsumexp(x, axis=-1, keepdims=False):
    m = x.max(axis, keepdims=True)
    s = m + np.log(np.exp(x - m).sum(axis, keepdims=True))
    return s if keepdims else s.squeeze(axis)


def check(t, rng):
    name = lambda operator: f"{operator}_{t.suffix}"
    for rows, cols in [(1, 1), (3, 7), (5, 64), (4, 333), (2, 5000)]:
        stored = t.store(rng.normal(0, 3, (rows, cols)))
        x, y = t.load(stored), np.empty_like(stored)
        must(name("softmax"), stored, y, rows, cols, cols, cols)
        t.near(y, softmax(x))
        p = t.load(y)
        must(name("log_softmax"), stored, y, rows, cols, cols, cols)
        t.near(y, log_softmax(x))
        log = y.copy()
        out = np.empty(rows, stored.dtype)
        must(name("logsumexp"), stored, out, rows, cols, cols)
        t.near(out, logsumexp(x))
        index = np.empty(rows, np.uintp)
        must(name("argmax"), stored, index, rows, cols, cols)
        assert (index == x.argmax(-1)).all()
        k = min(cols, 5)
        index, prob = np.empty((rows, k), np.uintp), np.empty((rows, k), t.result)
        must(name("top_k"), stored, rows, cols, cols, k, index, prob)
        order = np.argsort(-x, -1, kind="stable")[:, :k]
        assert (index == order).all()
        best = np.take_along_axis(softmax(x), order, -1)  # probabilities of a half type are not rounded to it
        np.testing.assert_allclose(prob, best, rtol=1e-14 if t.suffix == "f64" else 2e-6)

        d = t.store(rng.normal(0, 1, (rows, cols)))
        dy, dx = t.load(d), np.empty_like(d)
        must(name("softmax_backward"), t.store(p), d, dx, rows, cols, cols, cols, cols)
        t.near(dx, p * (dy - (p * dy).sum(-1, keepdims=True)))
        must(name("log_softmax_backward"), log, d, dx, rows, cols, cols, cols, cols)
        wanted = dy - np.exp(t.load(log)) * dy.sum(-1, keepdims=True)
        np.testing.assert_allclose(t.load(dx), wanted, rtol=t.tolerance, atol=t.tolerance * np.abs(dy).sum(-1).max())

        labels = rng.integers(0, cols, rows)
        loss, dx = np.empty(1, t.result), np.empty_like(stored)
        params = CrossEntropy(ignore_index=-100, reduction=1)
        must(name("cross_entropy"), stored, labels, loss, dx, rows, cols, cols, cols, ctypes.byref(params))
        np.testing.assert_allclose(loss[0], -log_softmax(x)[np.arange(rows), labels].mean(), rtol=2e-5, atol=1e-6)
        t.near(dx, (softmax(x) - np.eye(cols)[labels]) / rows)

    # A view of an array: its strides are those of the call.
    stored = t.store(rng.normal(0, 3, (6, 50)))[:, 3:40]
    y = np.zeros((6, 40), stored.dtype)
    stride = stored.strides[0] // stored.itemsize
    must(name("softmax"), stored, y, 6, 37, stride, 40)
    t.near(y[:, :37], softmax(t.load(np.ascontiguousarray(stored))))
    assert not y[:, 37:].any()

    tensor = t.store(rng.normal(0, 3, (3, 19, 10)))
    y, out = np.empty_like(tensor), np.empty((3, 10), tensor.dtype)
    must(name("softmax_axis"), tensor, y, 3, 19, 10)
    t.near(y, softmax(t.load(tensor), 1))
    must(name("log_softmax_axis"), tensor, y, 3, 19, 10)
    t.near(y, log_softmax(t.load(tensor), 1))
    must(name("logsumexp_axis"), tensor, out, 3, 19, 10)
    t.near(out, logsumexp(t.load(tensor), 1))

    offsets = np.array([0, 4, 4, 30, 60], np.uintp)
    stored = t.store(rng.normal(0, 3, 60))
    y = np.empty_like(stored)
    must(name("softmax_ragged"), stored, y, offsets, 4)
    for start, end in zip(offsets[:-1], offsets[1:]):
        if start < end:
            t.near(y[start:end], softmax(t.load(stored[start:end])))

    # Attention: two heads of four queries over nine keys, five of them cached.
    rows, queries, keys = 8, 4, 9
    stored = t.store(rng.normal(0, 3, (rows, keys)))
    bias = rng.normal(0, 1, (rows, keys)).astype(np.float32)
    bias[:, 2] = -np.inf
    sinks = np.full(rows, 0.5, np.float32)
    mask = Mask(0.25, softcap=4, alibi_slope=0.5, additive=bias.ctypes.data, additive_stride=keys, causal=True,
                causal_offset=keys - queries, queries=queries, window=6, sinks=sinks.ctypes.data)
    y = np.empty_like(stored)
    z = 4 * np.tanh(0.25 * t.load(stored) / 4) + 0.5 * bias
    q, k = np.arange(rows)[:, None] % queries, np.arange(keys)
    z[(k > q + keys - queries) | (k <= q + keys - queries - 6)] = -np.inf
    must(name("masked_softmax"), stored, y, rows, keys, keys, keys, ctypes.byref(mask))
    t.near(y, softmax(np.column_stack([z, sinks]))[:, :-1])
    must(name("masked_log_softmax"), stored, y, rows, keys, keys, keys, ctypes.byref(mask))
    t.near(y, log_softmax(np.column_stack([z, sinks]))[:, :-1])


def check_errors():
    x, y = np.zeros((2, 3), np.float32), np.full((2, 3), 7, np.float32)
    assert call("softmax_f32", None, y, 2, 3, 3, 3) == NULL
    assert call("softmax_f32", x, y, 2, 3, 2, 3) == SHAPE
    assert call("softmax_f32", x, y, 2**63, 3, 3, 3) == SHAPE
    assert call("softmax_f32", y, y[1], 2, 3, 3, 3) == OVERLAP
    assert call("masked_softmax_f32", x, y, 2, 3, 3, 3, ctypes.byref(Mask(float("nan")))) == PARAM
    assert lib.smx_set_max_isa(b"mmx") == ISA
    assert (y == 7).all()


check_errors()
rng = np.random.default_rng(5)
for t in TYPES:
    check(t, rng)
print("Python:", lib.smx_isa_name().decode())
