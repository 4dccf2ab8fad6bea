//! The command `twinmesh-agent`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    twinmesh_agent::cli::main(twinmesh_agent::cli::Cli::parse())
}
