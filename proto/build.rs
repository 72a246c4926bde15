//! Compiles the `.proto` files without `protoc`.

use std::error::Error;

const FILES: [&str; 5] = [
    "fencing/v1/types.proto",
    "fencing/v1/log.proto",
    "fencing/v1/raft.proto",
    "fencing/v1/agent.proto",
    "fencing/v1/cluster.proto",
];

/// Messages that hold a secret in clear; `src/secrets.rs` writes their `Debug`.
const SECRET: [&str; 4] = [
    ".fencing.v1.JoinRequest",
    ".fencing.v1.ControllerSecrets",
    ".fencing.v1.TokenCreateReply",
    ".fencing.v1.ClearDevice",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().skip_debug(SECRET).compile_fds(descriptors)?;
    Ok(())
}
