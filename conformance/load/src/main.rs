//! The command `twinmesh-load`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    twinmesh_load::cli::main(twinmesh_load::cli::Cli::parse())
}
