# Sourced by the scripts beside it, with `root` set: says where cargo builds, outside of the clone.
#
# Two clones may share the folder. Cargo takes a clone's crates for unchanged when another clone built them later, because
# it compares times and not contents; so what another clone built of this workspace is dropped first.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/quorumfence/target}"
mkdir -p "$CARGO_TARGET_DIR"
if [ "$(cat "$CARGO_TARGET_DIR/quorumfence-clone" 2>/dev/null)" != "$root" ]; then
    (
        cd "$root"
        # The words are separate arguments: no name of a crate has a blank.
        # shellcheck disable=SC2046
        cargo clean --quiet --locked --release $(sed -n 's/^name = "\(quorumfence-[a-z]*\)"$/-p \1/p' ./*/Cargo.toml ./*/*/Cargo.toml)
    )
    echo "$root" >"$CARGO_TARGET_DIR/quorumfence-clone"
fi
