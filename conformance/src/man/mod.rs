//! `twinmesh man`: the manual pages.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use crate::cli;
use crate::failure::{Failure, Status};
use crate::output::{self, Output};
use crate::words::counted;

/// Writes the manual pages, one for the command and one for each of its commands.
///
/// Without a folder, writes the command's own page to standard output.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the pages go; the folder is made where it is not there.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// A manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file's name: `twinmesh-check.1`.
    pub file: String,
    /// Its content, in roff.
    pub text: Vec<u8>,
}

/// Runs the command.
///
/// # Errors
/// The pages cannot be written.
pub fn run(arguments: &Arguments) -> Result<Status, Failure> {
    let pages = pages()?;
    let Some(folder) = &arguments.output else {
        let mut output = Output::stdout();
        if let Some(first) = pages.first() {
            output.data(String::from_utf8_lossy(&first.text).trim_end())?;
        }
        output.finish()?;
        return Ok(Status::Agreement);
    };
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure(format!("{}: cannot be made: {error}", folder.display())))?;
    for page in &pages {
        output::file(&folder.join(&page.file), &page.text)?;
    }
    output::note(format!(
        "{} in {}",
        counted(pages.len(), "page"),
        folder.display()
    ));
    Ok(Status::Agreement)
}

/// Every page, the command's own first.
///
/// # Errors
/// A page cannot be made.
pub fn pages() -> Result<Vec<Page>, Failure> {
    let mut command = cli::command();
    command.build();
    let commands: Vec<clap::Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .cloned()
        .collect();
    let mut pages = Vec::with_capacity(commands.len() + 1);
    for command in std::iter::once(command).chain(commands) {
        let man = Man::new(command);
        let file = man.get_filename();
        let mut text = Vec::new();
        man.render(&mut text)
            .map_err(|error| Failure(format!("{file}: cannot be made: {error}")))?;
        pages.push(Page { file, text });
    }
    Ok(pages)
}
