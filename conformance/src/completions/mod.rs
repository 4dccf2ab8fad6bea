//! `twinmesh completions`: what a shell needs to complete the command's arguments.

use clap::Args;
use clap_complete::Shell;

use crate::cli;
use crate::failure::{Failure, Status};
use crate::output::Output;

/// Writes a shell's completion script to standard output.
///
/// For bash: `twinmesh completions bash > ~/.local/share/bash-completion/completions/twinmesh`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// Standard output does not take the script.
pub fn run(arguments: &Arguments) -> Result<Status, Failure> {
    let mut output = Output::stdout();
    // The generator panics where its writer fails.
    let mut script = Vec::new();
    let mut command = cli::command();
    clap_complete::generate(arguments.shell, &mut command, "twinmesh", &mut script);
    output.data(String::from_utf8_lossy(&script).trim_end())?;
    output.finish()?;
    Ok(Status::Agreement)
}
