#!/usr/bin/env python3
"""Finds the hot loops of an object file, archive or program, and fails if one holds a call or a spill.

    check_asm.py [--objdump PROGRAM] [--expect avx512,avx2] FILE...

A loop is a natural loop of a function's control-flow graph (the blocks from which the source of a backward edge
is reached without leaving through its target), so panic and early-exit paths are outside. A loop is *hot* when it
holds at least 8 vector FMA, or, where the ISA has none (SSE2), 16 vector additions and multiplications.

Faults are
- a call in a hot loop: it passes vectors through memory. In a loop around other hot ones, too: a helper that was not
  inlined is a call there. What is called once per row, and may be, stands in ALLOWED with its reason;
- spills in an innermost hot loop: whole vectors stored to a fixed place on the stack, more than MAX_SPILLS. Loads
  alone, of what does not change in the loop, are no worse than constants in memory: counted, not refused;
- too many instructions to an exp in a hot loop of f32 over whole blocks (each exp looks up a table once): more than
  MAX_PER_EXP (AVX2 and NEON store a block by a loop over its vectors, which is not counted; they read one whole). The
  core is 12 instructions to a register (clamp, 4 of reduction and rounding, lookup, shift and add
  of the exponent, 4 of the polynomial; NEON's lookup is 3); load, store, prefetch, checks and sums come to it;
- for an ISA in --expect, fewer hot loops than EXPECTED, or none that computes whole blocks of exps in a kernel that has
  such: the patterns here match no more, and nothing was checked.

Two backends are left out: scalar, the exact reference, not a fast one; and portable, whose exp core is a function of its
own by design. The loops of f64 are listed with their calls and spills, not refused: they still spill, and their tails
copy arrays.
"""

import argparse
import functools
import re
import subprocess
import sys
from collections import Counter, namedtuple

HOT_FMA = 8
HOT_NO_FMA = 16

# Spilled vectors per 100 instructions of an innermost hot loop: what there may be at most, for "<isa> <element>" or for
# "<isa>". Lower a figure when the kernels improve; an ISA without a figure is counted only.
# NEON: a virtual vector is 8 of the 32 registers, and LLVM's scheduler interleaves whole blocks of four of them,
# whatever the order of the source.
MAX_SPILLS = {"avx512": 0, "neon": 12}

# Loops of their own limit: the gradient of cross_entropy keeps logits, labels and weights beside the exp; log_softmax of
# one short row keeps its elements; what threads share of a row is masked or not, in one function; bf16 has no conversion of
# one instruction; masked logits that were computed before take an offset beside the constants of exp, and masks that were
# taken before a scale and a slope; where a row is finished in the loop of the exps of the next, the sums and what was seen go
# through memory once a block (to compute half as many exps at once spills none and takes longer), and so do the sums of some
# rows side by side whose logarithms are wanted.
SPILLS_OF = [
    (r"kernel::softmax::StoreBeside<", 2),
    (r"kernel::softmax::FindBeside<", 1),
    (r"kernel::masked::ExpsByBlock<", 1.2),
    (r"kernel::masked::ExpsByMask<", 1.6),
    (r"kernel::masked::ExpsApart<", 1),
    (r"kernel::masked_prefix::StoreExps<", 1),
    (r"kernel::masked::SumRow<f32>", 0.5),
    (r"kernel::masked::SumRow<half::bfloat::bf16>", 2.4),
    (r"kernel::cross_entropy::", 1),
    (r"kernel::short_rows::single::SingleLog<", 1),
    (r"kernel::short_rows::logs::Find<", 2),
    (r"kernel::segments::Segment<", 1.2),
    (r"kernel::overwrite::Overwrite<half::bfloat::bf16>", 1),
]

# Instructions to an exp (one register of them) in a loop over whole blocks of f32, at most, and the registers of a
# block of 128.
MAX_PER_EXP = {"avx512": 24, "avx2": 26, "neon": 37}
# What the conversions of halves may come to, and the quotients of the row before.
MORE_PER_EXP = {"half::binary16::f16": 2, "half::bfloat::bf16": 8, "softmax::StoreBeside<": 3}
BLOCK = {"avx512": 8, "avx2": 16, "neon": 32}

# The hot loops of an ISA, at least (most of those that there were), and kernels that have a loop over whole blocks of exps.
EXPECTED = {
    "avx512": (230, [r"softmax::StoreExps<f32>", r"softmax::StoreBeside<f32,", r"masked_prefix::StoreExps<f32,", r"segments::Segment<f32>", r"short_rows::ShortRows<f32>"]),
    "avx2": (280, [r"short_rows::ShortRows<f32>"]),
    "neon": (400, [r"softmax::FindSum<f32>", r"masked_long::MaskedOver<f32>"]),
}

# Kernels whose loops hold more than exps: what makes logits of scores; rows of a few elements, which are loaded and stored
# one by one and divided in the same loop.
MORE_THAN_EXP = re.compile(r"kernel::(masked::|masked_prefix::|segments::Segment<)|kernel::short_rows::(ShortRows|logs::Find)<")

# What a loop around hot loops may call: (regular expression on the caller, on the callee, reason).
ALLOWED = [
    (r"kernel::cross_entropy::", r"^memset$", "the gradient of an ignored row, once per row"),
    (r"kernel::axis::", r"^memset$", "once per tile"),
    (
        r"kernel::short_rows::batches::(Batches|BatchStep)<",
        r"^memset$",
        "the batches, zeroed once per call; what is taken for the rows of one; and a row without a sum",
    ),
    (r"kernel::masked(_long|_prefix)?::", r"^memset$", "what a row does not see, filled once per row"),
    (
        r"",
        r"^kernel::([a-z_]+::)*(FindSum|FindBeside|StoreExps|StoreBeside|Again|SumRow|Results|ExpsByBlock|ExpsByMask|ExpsApart|ExpsOf|LogitsOf|LogitsInto|MaskOf|MaskedLog|MaskedLong|MaskedOver|MaskedSum|OneRow|Take|Batches|BatchStep|LongRow|Single|ExpSums|Overwrite"
        r"|Lowered|StoreOver|Overlapped|RowsApart|RowsAside|Stored|ShortRows|Find|FindByMaximum|StoreByMaximum|Redo|ShortLogSoftmax|Subtract|ShortLogSumExp|SingleLog|OtherLogSoftmax|LongLogSoftmax)<",
        "a pass of its own: once per row, batch of rows, tile, group of slices, or chunk of a mask or of masked logits",
    ),
    (r"kernel::masked::Stored<", r"^kernel::masked_prefix::otherwise::", "a row whose guess failed"),
    (r"", r"sizes::Sizes>::read$", "the sizes of the caches, once in a process"),
]
# How backends enter a kernel.
ENTRY = re.compile(r"^<(.*) as (arch::\w+::Enter<[\w:]+>>::enter|kernel::Kernel<[\w:]+>>::run_apart::<[\w:]+>)$")
LEFT_OUT = re.compile(r"\barch::(scalar|portable)::")
NOT_REFUSED = re.compile(r"<f64\b")
NEVER_RETURNS = re.compile(r"core::panicking::|slice_index_fail|::panic_|_failed$|^abort$|_Unwind_Resume")

Insn = namedtuple("Insn", "address op args symbol")  # symbol: what a relocation names, or None

X86_FMA = re.compile(r"vfn?m(add|sub)\d+p[sd]$")
X86_NO_FMA = re.compile(r"(add|mul|sub)p[sd]$")
X86_LOOKUP = re.compile(r"vpermps$")
X86_STACK = re.compile(r"([XYZ]MMWORD) PTR \[(rsp|rbp)([+-]0x[0-9a-f]+)?\]")
ARM_FMA = re.compile(r"fml[as]$")
ARM_LOOKUP = re.compile(r"tbl$")
ARM_STACK = re.compile(r"\[(sp|x29)(, #-?\d+)?\]")


class X86:
    """x86-64, Intel syntax."""

    def __init__(self, insns):
        text = [(i.op, i.args) for i in insns]
        self.frame = ("mov", "rbp,rsp") in text or any(
            op == "lea" and args.startswith("rbp,[rsp") for op, args in text
        )

    @staticmethod
    def is_call(insn):
        return insn.op == "call" and not NEVER_RETURNS.search(insn.symbol or insn.args)

    @staticmethod
    def is_jump(insn):
        return insn.op.startswith("j") or not X86.falls_through(insn)

    @staticmethod
    def falls_through(insn):
        return insn.op not in ("jmp", "ret", "ud2", "hlt", "int3") and (insn.op != "call" or X86.is_call(insn))

    @staticmethod
    def is_indirect(insn):
        return insn.op == "jmp" and not re.match(r"[0-9a-f]+( |$)", insn.args)

    @staticmethod
    def is_vector(insn):
        return re.search(r"\b[xyz]mm\d", insn.args) is not None and not insn.op.endswith(("ss", "sd"))

    @staticmethod
    def is_fma(insn):
        return X86_FMA.match(insn.op) is not None and re.search(r"\b[yz]mm\d", insn.args) is not None

    @staticmethod
    def is_lookup(insn):
        return X86_LOOKUP.match(insn.op) is not None

    @staticmethod
    def is_arithmetic_without_fma(insn):
        return X86_NO_FMA.match(insn.op) is not None

    def spill(self, insn):
        """"store", "load" or None."""
        place = X86_STACK.search(insn.args)
        if not place or (place[2] == "rbp" and not self.frame) or insn.op == "lea":
            return None
        return "store" if insn.args.startswith(place[1]) else "load"

    @staticmethod
    def isa(insns):
        if any("zmm" in i.args for i in insns if X86.is_fma(i)):
            return "avx512"
        if any(X86.is_fma(i) for i in insns):
            return "avx2"
        return "portable"


class Arm:
    """aarch64."""

    def __init__(self, insns):
        self.frame = any(i.op in ("mov", "add") and re.match(r"x29, sp\b", i.args) for i in insns)

    @staticmethod
    def is_call(insn):
        return insn.op in ("bl", "blr") and not NEVER_RETURNS.search(insn.symbol or insn.args)

    @staticmethod
    def is_jump(insn):
        conditional = insn.op in ("cbz", "cbnz", "tbz", "tbnz") or insn.op.startswith("b.")
        return conditional or not Arm.falls_through(insn)

    @staticmethod
    def falls_through(insn):
        return insn.op not in ("b", "br", "ret", "udf", "brk") and (insn.op != "bl" or Arm.is_call(insn))

    @staticmethod
    def is_indirect(insn):
        return insn.op == "br"

    @staticmethod
    def is_vector(insn):
        return re.search(r"\bv\d+\.|\bq\d+\b", insn.args) is not None

    @staticmethod
    def is_fma(insn):
        return ARM_FMA.match(insn.op) is not None and re.match(r"v\d+\.", insn.args) is not None

    @staticmethod
    def is_lookup(insn):
        return ARM_LOOKUP.match(insn.op) is not None

    @staticmethod
    def is_arithmetic_without_fma(insn):
        return False

    def spill(self, insn):
        if not re.match(r"(st|ld)(u?r|p)$", insn.op) or not re.match(r"q\d", insn.args):
            return None
        place = ARM_STACK.search(insn.args)
        if not place or (place[1] == "x29" and not self.frame):
            return None
        return "store" if insn.op.startswith("st") else "load"

    @staticmethod
    def isa(insns):
        return "neon"


def disassemble(objdump, path):
    """Yields (architecture, symbol, instructions) for every function."""

    def listing(*syntax):
        command = [objdump, "-d", "-r", "-w", "--no-show-raw-insn", "--demangle=rust", *syntax, path]
        return subprocess.run(command, capture_output=True, text=True, errors="replace")

    out = listing()
    architecture = Arm if "file format elf64-littleaarch64" in out.stdout else X86
    if architecture is X86:
        out = listing("-M", "intel")
    if "Disassembly of section" not in out.stdout:
        sys.exit(f"check_asm: {path}: nothing to disassemble\n{out.stderr}")
    symbol, insns = None, []
    for line in out.stdout.splitlines():
        if header := re.match(r"[0-9a-f]{8,} <(.*)>:$", line):
            if insns:
                yield architecture, symbol, insns
            symbol, insns = header[1], []
        elif code := re.match(r" *([0-9a-f]+):\t(?:(?:rep|bnd|notrack|lock) )*(\S+)\s*(.*)$", line):
            # -w puts a relocation on the line of its instruction, behind a tab.
            args, _, reloc = code[3].partition("\t")
            named = re.match(r"[0-9a-f]+: R_\w+\s+(.*?)([+-]0x[0-9a-f]+)?$", reloc)
            args = re.sub(r"(\s+//| {2,}#).*$", "", args)
            insns.append(Insn(int(code[1], 16), code[2], args, named and named[1]))
    if insns:
        yield architecture, symbol, insns


def with_callees(insns):
    """The same instructions, where a call through a register names what is loaded there."""
    loaded = {}
    for insn in insns:
        if insn.op == "mov" and insn.symbol and "[rip" in insn.args:
            loaded.setdefault(insn.args.split(",")[0], set()).add(insn.symbol)
    return [
        insn._replace(symbol=" or ".join(sorted(loaded[insn.args])))
        if insn.op == "call" and insn.args in loaded
        else insn
        for insn in insns
    ]


def target(insn):
    """The address a direct jump names."""
    found = re.search(r"(?:^|, )([0-9a-f]+)(?: <.*)?$", insn.args)
    return int(found[1], 16) if found and insn.symbol is None else None


def graph(arch, insns):
    """Blocks as lists of instructions, and the successors of each."""
    addresses = {insn.address for insn in insns}
    leaders = {insns[0].address}
    for insn, following in zip(insns, insns[1:] + [None]):
        if arch.is_jump(insn):
            leaders.add(target(insn))
            if following:
                leaders.add(following.address)
    blocks = []
    for insn in insns:
        if insn.address in leaders:
            blocks.append([])
        blocks[-1].append(insn)
    number = {block[0].address: n for n, block in enumerate(blocks)}
    successors = [set() for _ in blocks]
    for n, block in enumerate(blocks):
        last = block[-1]
        if arch.is_jump(last) and target(last) in addresses:
            successors[n].add(number[target(last)])
        if arch.falls_through(last) and n + 1 < len(blocks):
            successors[n].add(n + 1)
    # A jump through a table may go to any block that nothing else reaches.
    reached = set().union({0}, *successors)
    for n, block in enumerate(blocks):
        if arch.is_indirect(block[-1]):
            successors[n] |= set(range(len(blocks))) - reached
    return blocks, successors


def loops(successors):
    """The natural loops: {header: set of blocks}."""
    order, state, stack = [], {0}, [(0, iter(sorted(successors[0])))]
    while stack:
        node, rest = stack[-1]
        nxt = next((s for s in rest if s not in state), None)
        if nxt is None:
            order.append(node)
            stack.pop()
        else:
            state.add(nxt)
            stack.append((nxt, iter(sorted(successors[nxt]))))
    order.reverse()
    rank = {node: i for i, node in enumerate(order)}
    predecessors = {node: [] for node in order}
    for node in order:
        for s in successors[node]:
            predecessors[s].append(node)

    # Immediate dominators (Cooper, Harvey, Kennedy).
    parent = {0: 0}
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            new = None
            for p in (p for p in predecessors[node] if p in parent):
                if new is None:
                    new = p
                    continue
                a, b = p, new
                while a != b:
                    if rank[a] > rank[b]:
                        a = parent[a]
                    else:
                        b = parent[b]
                new = a
            if parent.get(node) != new:
                parent[node], changed = new, True

    def dominates(a, b):
        while rank[b] > rank[a]:
            b = parent[b]
        return a == b

    found = {}
    for node in order:
        for header in successors[node]:
            # An edge backwards whose target does not dominate it enters a loop in the middle; LLVM makes none, and
            # walking back from it to the entry only makes the loop too large, never too small.
            if rank[header] > rank[node]:
                continue
            body, todo = {header}, [node]
            stop = dominates(header, node)
            while todo:
                at = todo.pop()
                if at not in body:
                    body.add(at)
                    todo += predecessors[at] if stop or at else []
            found.setdefault(header, set()).update(body)
    return found


Loop = namedtuple("Loop", "isa insns vector fma exps calls spills symbol address around")


def is_hot(arch, insns):
    fma = sum(map(arch.is_fma, insns))
    return fma >= HOT_FMA or (fma == 0 and sum(map(arch.is_arithmetic_without_fma, insns)) >= HOT_NO_FMA)


def hot_loops(architecture, symbol, insns):
    if LEFT_OUT.search(symbol):
        return
    arch = architecture(insns)
    insns = with_callees(insns)
    backend = re.search(r"\barch::(avx512|avx2|neon|portable)::", symbol)
    blocks, successors = graph(arch, insns)
    found = loops(successors)
    for header, body in sorted(found.items()):
        inside = set().union(*(other for other in found.values() if other < body))
        text = [insn for n in sorted(body) for insn in blocks[n]]
        own = [insn for n in sorted(body - inside) for insn in blocks[n]]
        if is_hot(arch, text):
            yield Loop(
                isa=backend[1] if backend else arch.isa(text),
                insns=len(text),
                vector=sum(map(arch.is_vector, text)),
                fma=sum(map(arch.is_fma, text)),
                exps=sum(map(arch.is_lookup, text)),
                calls=[insn.symbol or insn.args for insn in text if arch.is_call(insn)],
                spills=Counter(kind for insn in own if (kind := arch.spill(insn))),
                symbol=symbol,
                address=blocks[header][0].address,
                around=bool(inside),
            )


def short(symbol):
    """A generic instance by the kernel it was made for; a legacy mangled name as a path."""
    if symbol.startswith("_ZN"):
        parts, rest = [], symbol[3:]
        while length := re.match(r"\d+", rest):
            end = length.end() + int(length[0])
            parts.append(rest[length.end() : end])
            rest = rest[end:]
        return "::".join(parts[:-1])
    symbol = re.sub(r"\[[0-9a-f]{16}\]", "", symbol)
    symbol = re.sub(r"\bsoftmax::", "", symbol)
    return ENTRY.sub(r"\1", symbol)


@functools.cache
def symbol_of(callee):
    """A relocation against the section of a function names the section: its name is not demangled yet."""
    name = callee.removeprefix(".text.")
    if not name.startswith("_R"):
        return name
    return subprocess.run(["c++filt", "-s", "rust", name], capture_output=True, text=True).stdout.strip()


def demangled(callee):
    """A callee by the kernel it was made for."""
    return short(symbol_of(callee))


def allowed(loop, callee):
    return loop.around and any(re.search(by, loop.symbol) and re.search(what, callee) for by, what, _ in ALLOWED)


def faults(loop):
    if NOT_REFUSED.search(loop.symbol):
        return
    calls = Counter(map(demangled, loop.calls))
    calls = [f"{callee[:100]} ({times})" for callee, times in calls.items() if not allowed(loop, callee)]
    if calls:
        more = f", and {len(calls) - 4} more" if len(calls) > 4 else ""
        yield f"calls {', '.join(calls[:4])}{more}"
    element = re.search(r"\bf(32|64)\b", loop.symbol)
    most = MAX_SPILLS.get(f"{loop.isa} {element and element[0]}", MAX_SPILLS.get(loop.isa))
    for symbol, limit in SPILLS_OF:
        if most is not None and re.search(symbol, loop.symbol):
            most = max(most, limit)
    spilled = 100 * loop.spills["store"] / loop.insns
    if most is not None and spilled > most and not loop.around:
        yield f"{loop.spills['store']} vectors spilled in {loop.insns} instructions ({spilled:.1f} of 100, at most {most})"
    most = None if MORE_THAN_EXP.search(loop.symbol) else MAX_PER_EXP.get(loop.isa)
    if most is not None:
        most += sum(more for half, more in MORE_PER_EXP.items() if half in loop.symbol)
    if most is not None and not loop.around and computes_exps(loop) and loop.insns > most * loop.exps:
        yield f"{loop.insns} instructions for {loop.exps} exps ({loop.insns / loop.exps:.1f} each, at most {most})"


def computes_exps(loop):
    """Whole blocks of exps: each has six FMA and a lookup (a lookup alone moves lanes to their place for a store)."""
    return loop.exps >= BLOCK.get(loop.isa, 8) and loop.fma >= 6 * loop.exps


def missing(isa, found):
    least, kernels = EXPECTED[isa]
    innermost = [loop for loop in found if loop.isa == isa and not loop.around]
    if len(innermost) < least:
        yield (
            f"{isa}: {len(innermost)} hot loops, at least {least} are expected. The kernels must be instantiated in this "
            "file (called from a function that is neither generic nor #[inline])"
        )
    for kernel in kernels:
        if not any(re.search(kernel, loop.symbol) and computes_exps(loop) for loop in innermost):
            yield f"{isa}: no loop over whole blocks of exps in {kernel}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("--expect", default="", help="ISAs that must have hot loops, comma-separated")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args()

    found = []
    for path in args.files:
        for function in disassemble(args.objdump, path):
            found += hot_loops(*function)
    order = {"avx512": 0, "avx2": 1, "neon": 2, "portable": 3}
    found.sort(key=lambda loop: (order[loop.isa], loop.symbol, loop.address))

    print(f"{'isa':9}{'insns':>6}{'vector':>7}{'fma':>5}{'/exp':>6}{'calls':>6}  {'spills':<14}innermost hot loop")
    problems = []
    for loop in found:
        where = f"{short(loop.symbol)}+{loop.address:#x}"
        spills = f"{loop.spills['store']} st {loop.spills['load']} ld" if loop.spills else "-"
        if not loop.around:
            each = f"{loop.insns / loop.exps:.1f}" if computes_exps(loop) else "-"
            print(f"{loop.isa:9}{loop.insns:6}{loop.vector:7}{loop.fma:5}{each:>6}{len(loop.calls):6}  {spills:<14}{where}")
        kind = " (around hot loops)" if loop.around else ""
        problems += [f"{loop.isa}: {where}{kind}: {fault}" for fault in faults(loop)]
    problems += [problem for isa in filter(None, args.expect.split(",")) for problem in missing(isa, found)]
    for problem in problems:
        print(f"FAULT {problem}")
    print(f"{len(found)} hot loops, {len(problems)} faults")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
