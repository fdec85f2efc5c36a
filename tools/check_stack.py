#!/usr/bin/env python3
"""Adds up the stack frames along the calls in object files of x86-64, and fails if any chain takes more than MAX_STACK.

    check_stack.py [--objdump PROGRAM] FILE...

The scratch of a path is at most 32 KiB (`tuning/profile.rs` refuses more); frames of the functions around it, saved
registers and return addresses come to that. A call through a pointer is not followed, nor are functions that never
return or lie in another file. One of this crate that is called and not found is a fault, and so is a deepest chain of
fewer than MIN_CHAIN functions: calls were missed.
"""

import argparse
import functools
import re
import subprocess
import sys

from check_asm import NEVER_RETURNS, disassemble, short, symbol_of, with_callees

# f64 by the scalar reference, whose vectors are arrays, takes the most.
MAX_STACK = 56 * 1024

MIN_CHAIN = 3

PROLOGUE = 40

OURS = re.compile(r"\b(softmax|kernel|arch)::")
# What is loaded into a register may be data, not the function that another path calls by it.
STATIC = re.compile(r"::[A-Z][A-Z0-9_]*$")


def frame(insns):
    """The bytes that a function takes from the stack, its return address included."""
    size, pages = 8, 0
    for insn in insns[:PROLOGUE]:
        if insn.op == "push":
            size += 8
        # Frames of several pages are touched page by page; r11 is where they end.
        elif insn.op in ("lea", "sub") and (probe := re.match(r"r11,(?:\[rsp-)?0x([0-9a-f]+)", insn.args)):
            pages = int(probe[1], 16)
        elif insn.op == "sub" and (step := re.match(r"rsp,0x([0-9a-f]+)$", insn.args)):
            bytes_taken = int(step[1], 16)
            # A page of a probe, or what is given back: a large number for a negative one.
            size += 0 if pages and bytes_taken == 4096 or bytes_taken >> 63 else bytes_taken
        elif insn.op == "and" and insn.args.startswith("rsp,"):
            size += 63
    return size + pages


def plain(symbol):
    """Without the hashes of crates, which objdump and c++filt do not both write."""
    return re.sub(r"\[[0-9a-f]{16}\]", "", symbol)


def aliases(objdump, path):
    """Functions that are another one by a second name: {name: name in the disassembly}. The section has the first name."""
    out = subprocess.run([objdump, "-t", "-w", path], capture_output=True, text=True, errors="replace").stdout
    symbols = re.findall(r"^[0-9a-f]+ .{6}F \.text\.(_R\S+)\s+[0-9a-f]+ (?:\.hidden )?(_R\S+)$", out, re.MULTILINE)
    return {plain(symbol_of(name)): plain(symbol_of(first)) for first, name in symbols if first != name}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args()

    frames, callees, second_names = {}, {}, {}
    for path in args.files:
        second_names |= aliases(args.objdump, path)
        for _, symbol, insns in disassemble(args.objdump, path):
            insns, symbol = with_callees(insns), plain(symbol)
            frames[symbol] = max(frame(insns), frames.get(symbol, 0))
            called = callees.setdefault(symbol, set())
            for insn in insns:
                if insn.op in ("call", "jmp") and insn.symbol and not NEVER_RETURNS.search(insn.symbol):
                    called.update(plain(symbol_of(callee)) for callee in insn.symbol.split(" or "))

    callees = {caller: {second_names.get(callee, callee) for callee in called} for caller, called in callees.items()}

    @functools.cache
    def deepest(symbol):
        """The bytes below and in a function, and the chain of (bytes, function) that takes them."""
        below = [deepest(callee) for callee in callees[symbol] if callee in frames and callee != symbol]
        size, chain = max(below, default=(0, ()))
        return frames[symbol] + size, ((frames[symbol], symbol), *chain)

    size, chain = max(map(deepest, frames))
    print(f"deepest stack: {size} bytes, at most {MAX_STACK}:")
    for each, symbol in chain:
        print(f"{each:9} {short(symbol)}")
    missing = {callee for called in callees.values() for callee in called - frames.keys() if OURS.search(callee)}
    problems = [f"a function that is called is not there: {callee}" for callee in sorted(missing) if not STATIC.search(callee)]
    if size > MAX_STACK:
        problems.append("the stack is too deep")
    if len(chain) < MIN_CHAIN:
        problems.append(f"no chain of {MIN_CHAIN} calls: nothing was followed")
    for problem in problems:
        print(f"FAULT {problem}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
