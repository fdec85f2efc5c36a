#!/usr/bin/env bash
# Builds the library for release and checks the hot loops of every kernel in it: no call, and no more spilled vectors
# than allowed. tools/check_asm.py says what counts as what, and prints a table of the loops.
#
#   tools/check-asm.sh                  this machine, and aarch64 where its cross toolchain is installed
#   tools/check-asm.sh x86_64 aarch64   these, and it is an error if one cannot be built
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${CARGO_TARGET_DIR:-target}/check-asm
host=$(rustc -vV | sed -n 's/^host: \([^-]*\).*/\1/p')
debian_arm=/usr/lib/rustlib/aarch64-unknown-linux-gnu

# v0 names keep the kernel in the name of the generic instance. An archive holds every function that a program
# could link; optimisation across crates is off so that it holds code.
build() {
    "$@" rustc --quiet --locked --package softmax --features half,rayon --release --lib --target "$triple" --target-dir "$out" \
        --config 'profile.release.lto=false' -- -Csymbol-mangling-version=v0
}

check() {
    local triple=$1-unknown-linux-gnu objdump=objdump expect
    case $1 in
        x86_64) expect=avx512,avx2 ;;
        aarch64) expect=neon ;;
        *) echo "check-asm: unknown architecture $1" >&2; return 1 ;;
    esac
    if [ "$1" = "$host" ] || [ -d "$(rustc --print sysroot)/lib/rustlib/$triple/lib" ]; then
        build cargo
    else # Debian's compiler beside rustup's
        build env RUSTC=/usr/bin/rustc /usr/bin/cargo
    fi
    [ "$1" = "$host" ] || objdump=$triple; objdump=${objdump/%-unknown-linux-gnu/-linux-gnu-objdump}
    echo "hot loops, $triple:"
    python3 tools/check_asm.py --objdump "$objdump" --expect "$expect" "$out/$triple/release/libsoftmax.rlib"
    [ "$1" != x86_64 ] || python3 tools/check_stack.py --objdump "$objdump" "$out/$triple/release/libsoftmax.rlib"
}

if [ $# -gt 0 ]; then
    for architecture; do check "$architecture"; done
else
    check "$host"
    if [ "$host" = aarch64 ]; then
        :
    elif [ -d "$debian_arm/lib" ] && command -v aarch64-linux-gnu-objdump >/dev/null; then
        check aarch64
    else
        echo "aarch64: NOT CHECKED: no cross toolchain ('.ci/run install' installs it)"
    fi
fi
