#!/usr/bin/env python3
"""Prints the coefficients of e^r on |r| <= ln 2 / (2 * steps), highest power first, and their error.

    exp_coefficients.py --degree 11 --steps 1     COEFFICIENTS_F64 of src/math/exp.rs

Minimax of the relative error under fixed first terms 1 + r, by Remez exchange. Needs mpmath.
"""

import argparse

from mpmath import cos, exp, log, lu_solve, matrix, mp, mpf, nstr, pi, polyval

mp.dps = 60


def target(r):
    """(e^r - 1 - r) / r^2, what the free coefficients approximate."""
    return (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -12 else mpf(1) / 2 + r / 6


def weight(r):
    return r**2 / exp(r)


def extremes(values):
    """The largest of each run of values of one sign, among the local extremes."""
    kept = []
    for i, (r, v) in enumerate(values):
        before = values[i - 1][1] if i else mpf(0)
        after = values[i + 1][1] if i + 1 < len(values) else mpf(0)
        if abs(v) < abs(before) or abs(v) < abs(after):
            continue
        if kept and (kept[-1][1] > 0) == (v > 0):
            kept[-1] = max(kept[-1], (r, v), key=lambda e: abs(e[1]))
        else:
            kept.append((r, v))
    return kept


def remez(free, reach, rounds=12):
    """`free` coefficients and the largest relative error on |r| <= reach."""
    n = free + 1
    nodes = sorted(reach * cos(pi * (2 * k + 1) / (2 * n)) for k in range(n))
    grid = [-reach + 2 * reach * k / 2000 for k in range(2001)]
    for _ in range(rounds):
        a, b = matrix(n, n), matrix(n, 1)
        for i, r in enumerate(nodes):
            for j in range(free):
                a[i, j] = r**j
            a[i, free] = (-1) ** i / weight(r) if abs(r) > 1e-9 else mpf(10) ** 30
            b[i] = target(r)
        solution = lu_solve(a, b)
        c = [solution[j] for j in range(free)]
        values = [(r, weight(r) * (polyval(c[::-1], r) - target(r))) for r in grid]
        found = extremes(values)
        if len(found) < n:
            break
        while len(found) > n:
            found.pop(0 if abs(found[0][1]) < abs(found[-1][1]) else -1)
        nodes = [r for r, _ in found]
    return c, max(abs(v) for _, v in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degree", type=int, default=11)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    reach = log(2) / (2 * options.steps) * (1 + mpf(2) ** -20)
    c, error = remez(options.degree - 1, reach)
    for value in reversed([1.0, 1.0] + [float(v) for v in c]):
        print(repr(value))
    print(f"relative error {nstr(error * 2**53, 4)} * 2^-53")


main()
