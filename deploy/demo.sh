#!/bin/sh
# Builds quorumfence and runs its demo; every argument goes to `quorumfence demo`.
#
# Real hosts (network namespaces with libvirt and QEMU guests) need root. Anybody else gets the embedded demo, whose hosts are simulated.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

embedded=no
for argument in "$@"; do
    [ "$argument" != --embedded ] || embedded=yes
done
if [ "$embedded" = no ] && [ "$(id -u)" -ne 0 ]; then
    echo "demo: not root, so the hosts are simulated inside the demo's own process (--embedded)" >&2
    embedded=yes
    set -- --embedded "$@"
fi

if [ "$embedded" = yes ]; then
    "$root/deploy/packages.sh" build
else
    "$root/deploy/packages.sh" demo
fi
. "$root/deploy/target.sh"
cargo build --locked --release --manifest-path "$root/Cargo.toml" -p quorumfence-node
exec "$CARGO_TARGET_DIR/release/quorumfence" demo "$@"
