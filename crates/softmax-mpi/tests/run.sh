#!/usr/bin/env bash
# Tests on threads, then on 1, 2 and 4 processes of mpirun, and the examples; the README's is the file that runs here.
#
# CARGO_OPTIONS: more for `cargo test`; with `--workspace` the crates for engines are tested beside it.
#
# Needs MPI with its compiler wrapper `mpicc`, `mpirun`, and libclang (Debian: libopenmpi-dev openmpi-bin libclang-dev).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset SOFTMAX_MAX_ISA

# Open MPI, unasked: neither as root nor more processes than cores. Processes on one machine need no network.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun() {
    command mpirun --oversubscribe --mca btl self,vader --mca btl_vader_single_copy_mechanism none "$@"
}

# shellcheck disable=SC2206 # words
options=(--locked ${CARGO_OPTIONS:-})
cargo test "${options[@]}"
target=${CARGO_TARGET_DIR:-../target}
program=$(cargo test "${options[@]}" --no-run --test mpi --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
for processes in 1 2 4; do
    echo "--- mpirun -n $processes"
    mpirun -n "$processes" "$program"
    mpirun -n "$processes" "$target/debug/examples/vocabulary" 4 4099 2
done

# Every rank reports the error of the last one.
errors=$(mpirun -n 4 "$target/debug/examples/vocabulary" 4 4099 1 | grep '^rank')
[ "$(grep -c ': the call of rank 3 cannot be carried out' <<<"$errors")" = 3 ]
grep -q 'rank 3: output has 0 elements, 4 rows of 1025 columns at stride 1025 need 4100' <<<"$errors"

# The block of the root's README under "MPI", which is the example without its first comment.
diff <(sed '/^\/\/!/d; 2{/^$/d}' examples/adopt.rs) <(sed -n '/^MPI, /,/^```$/p' ../../README.md | sed '1,/^```rust/d; /^```$/d')
mpirun -n 4 "$target/debug/examples/adopt"
echo "the example of the README runs on 4 processes"
