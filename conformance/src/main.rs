//! The offline command `twinmesh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinmesh::cli::run()
}
