use std::process::ExitCode;

fn main() -> ExitCode {
    quorumfence_node::cli::main()
}
