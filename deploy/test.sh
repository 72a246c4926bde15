#!/bin/sh
# The whole gate: packages, format, lints, tests. What continuous integration runs is this file and nothing else.
#
# An optional lane is left out because it needs a tool of its own: `cargo deny check` (cargo install --locked cargo-deny).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/quorumfence
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
mkdir -p "$cache"

# pyghmi's BMC is a second implementation of IPMI, by other people: the driver must get along with it too.
prepare_pyghmi() {
    venv="$cache/pyghmi"
    QUORUMFENCE_TEST_PYTHON="$venv/bin/python3"
    export QUORUMFENCE_TEST_PYTHON
    if "$QUORUMFENCE_TEST_PYTHON" -c 'import pyghmi' 2>/dev/null; then
        return 0
    fi
    echo "test: preparing pyghmi in $venv"
    rm -rf "$venv"
    ./node/drivers/fixtures/ipmi_sim/install-pyghmi.sh "$venv"
}

./deploy/packages.sh test
prepare_pyghmi
. "$root/deploy/target.sh"

echo "test: format"
cargo fmt --all --check
echo "test: lints"
cargo clippy --locked --release --workspace --all-targets -- -D warnings
echo "test: tests"
cargo nextest run --locked --release --workspace --profile gate --test-threads $(($(nproc) + 1))
