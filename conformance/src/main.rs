//! The offline command `twinmesh`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Snapshots, traffic and decisions are many small texts: the system's own allocator takes a fifth
/// of the time of `fuzz`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    twinmesh::cli::run()
}
