#!/usr/bin/env python3
"""Prints P and Q of tanh(y/2) = y/2 * (1 + w*P(w)/Q(w)), w = y^2, |y| <= 1.6, highest power first, and the error.

    tanh_coefficients.py --p 1 --q 1     P_F32 and Q_F32 of src/math/tanh.rs
    tanh_coefficients.py --p 2 --q 3     P_F64 and Q_F64

Q(0) = 1. Linearised least squares on Chebyshev nodes, reweighted by the error (Lawson) until it is level. The error is
relative to tanh, before and after the coefficients are rounded. Needs mpmath.
"""

import argparse
import struct

from mpmath import cos, lu_solve, matrix, mp, mpf, nstr, pi, polyval, sqrt, tanh

mp.dps = 50
REACH = mpf(8) / 5


def target(w):
    """(tanh(y/2)/(y/2) - 1) / w, what P/Q approximates."""
    if w < mpf(10) ** -12:
        return -mpf(1) / 12 + w / 120
    u = sqrt(w) / 2
    return (tanh(u) / u - 1) / w


def weight(w):
    """From an error of P/Q to one of tanh, relative."""
    u = sqrt(w) / 2
    return w * u / tanh(u) if w > 0 else mpf(0)


def fit(p, q, nodes=160, rounds=60):
    """P and Q, lowest power first."""
    top = (REACH * (1 + mpf(2) ** -16)) ** 2
    ws = [top * (1 - cos(pi * (2 * k + 1) / (2 * nodes))) / 2 for k in range(nodes)]
    f = [target(w) for w in ws]
    level = [mpf(1)] * nodes
    denominator = [mpf(1)] * nodes
    best = None
    for _ in range(rounds):
        n = p + 1 + q
        a, b = matrix(nodes, n), matrix(nodes, 1)
        for i, w in enumerate(ws):
            s = sqrt(level[i]) * weight(w) / denominator[i]
            for j in range(p + 1):
                a[i, j] = s * w**j
            for j in range(q):
                a[i, p + 1 + j] = -s * f[i] * w ** (j + 1)
            b[i] = s * f[i]
        c = lu_solve(a, b)
        low = ([c[j] for j in range(p + 1)], [mpf(1)] + [c[p + 1 + j] for j in range(q)])
        denominator = [polyval(low[1][::-1], w) for w in ws]
        errors = [abs(weight(w) * (polyval(low[0][::-1], w) / d - v)) for w, d, v in zip(ws, denominator, f)]
        worst = max(errors)
        if best is None or worst < best[0]:
            best = (worst, low)
        level = [l * e for l, e in zip(level, errors)]
        total = sum(level)
        level = [l * nodes / total + mpf(10) ** -30 for l in level]
    return best[1]


def error(low):
    p, q = low
    ws = [(REACH * k / 4000) ** 2 for k in range(1, 4001)]
    return max(abs(weight(w) * (polyval(p[::-1], w) / polyval(q[::-1], w) - target(w))) for w in ws)


def single(v):
    return mpf(struct.unpack("f", struct.pack("f", float(v)))[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--p", type=int, default=1, help="degree of P")
    parser.add_argument("--q", type=int, default=1, help="degree of Q")
    options = parser.parse_args()
    low = fit(options.p, options.q)
    for name, digits, narrow in (("f32", 24, single), ("f64", 53, lambda v: mpf(float(v)))):
        rounded = tuple([narrow(v) for v in side] for side in low)
        for side, letter in zip(rounded, "PQ"):
            print(name, letter, ", ".join(nstr(v, 9) if name == "f32" else repr(float(v)) for v in side[::-1]))
        print(f"{name}: error {nstr(error(low) * 2**digits, 4)}, rounded {nstr(error(rounded) * 2**digits, 4)} * 2^-{digits}")


main()
