//! Standard output, files and colours. What cannot be written in full is an error, never half a
//! result. Text for people goes through [`printable`], so that no name takes hold of the terminal.

mod printable;

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;

use clap::ColorChoice;

use crate::failure::Failure;
pub use printable::{printable, printable_lines};

/// Standard output, buffered; [`Output::finish`] says whether all of it was taken.
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes standard output.
    pub fn stdout() -> Self {
        Self {
            writer: BufWriter::with_capacity(1 << 16, std::io::stdout().lock()),
        }
    }

    /// Writes a line for people, of which control characters are shown, never sent.
    ///
    /// # Errors
    /// It is not taken.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        self.data(printable::coloured(&text.to_string(), false))
    }

    /// Writes lines for people: line feeds are sent, other control characters are shown.
    ///
    /// # Errors
    /// They are not taken.
    pub fn lines(&mut self, text: impl Display) -> Result<(), Failure> {
        self.data(printable::coloured(&text.to_string(), true))
    }

    /// Writes a text for programs, and a line feed.
    ///
    /// # Errors
    /// It is not taken.
    pub fn data(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.writer, "{text}").map_err(not_taken)
    }

    /// Writes what has been collected so far.
    ///
    /// # Errors
    /// It is not taken.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(not_taken)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// What is said where standard output does not take what is written.
pub fn not_taken(error: std::io::Error) -> Failure {
    Failure(format!(
        "standard output: cannot be written: {error}; what was written is not whole"
    ))
}

/// Writes lines to standard error, where that is possible: line feeds are sent, other control
/// characters are shown.
pub fn note(text: impl Display) {
    let text = printable::coloured(&text.to_string(), true);
    // There is nobody left to tell where standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether there is a folder for a file that is to be written at the end.
///
/// # Errors
/// There is none.
pub fn has_folder(file: Option<&Path>) -> Result<(), Failure> {
    let folder = file.and_then(Path::parent);
    match (file, folder.filter(|it| !it.as_os_str().is_empty())) {
        (Some(file), Some(folder)) if !folder.is_dir() => Err(Failure(format!(
            "{}: cannot be written: there is no folder {}",
            file.display(),
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// Writes a whole file: beside its place first, then moved there, so that no reader ever finds
/// half of it.
///
/// # Errors
/// The folder does not take it; what stood there before stays.
pub fn file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failure =
        |error: std::io::Error| Failure(format!("{}: cannot be written: {error}", path.display()));
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.exists() && !path.is_file() {
        // A device takes what it is given in place: there is nothing to move.
        return std::fs::write(path, content).map_err(failure);
    }
    let mut beside = tempfile::Builder::new()
        .prefix(".twinmesh-")
        .permissions(readable())
        .tempfile_in(folder)
        // Of the file that was to be written: the one beside it is nobody's business.
        .map_err(|error| failure(error.kind().into()))?;
    beside.write_all(content).map_err(failure)?;
    beside.as_file().sync_all().map_err(failure)?;
    beside.persist(path).map_err(|error| failure(error.error))?;
    Ok(())
}

/// What a file has that is created in the ordinary way, the umask aside.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

/// Whether the environment refuses colours.
fn refused(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_some_and(|value| !value.is_empty()) || term.is_some_and(|term| term == "dumb")
}

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether they are.
    pub enabled: bool,
}

impl Style {
    /// `auto` is a terminal at standard output that has colours, without NO_COLOR.
    pub fn new(choice: ColorChoice) -> Self {
        let enabled = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let no_color = std::env::var_os("NO_COLOR");
                let term = std::env::var_os("TERM");
                !refused(no_color.as_deref(), term.as_deref()) && std::io::stdout().is_terminal()
            }
        };
        Self { enabled }
    }

    fn paint(self, code: u8, text: &str) -> String {
        if self.enabled {
            printable::paint(code, text)
        } else {
            text.to_owned()
        }
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.paint(1, text)
    }

    /// For agreements.
    pub fn green(self, text: &str) -> String {
        self.paint(32, text)
    }

    /// For divergences and errors.
    pub fn red(self, text: &str) -> String {
        self.paint(31, text)
    }

    /// For what is not decided.
    pub fn yellow(self, text: &str) -> String {
        self.paint(33, text)
    }

    /// For what is said beside the matter.
    pub fn dim(self, text: &str) -> String {
        self.paint(2, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_may_refuse_colours() {
        let of = |no_color: Option<&str>, term: Option<&str>| {
            refused(no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(of(Some("1"), Some("xterm")));
        assert!(of(None, Some("dumb")));
        assert!(!of(Some(""), Some("xterm")));
        assert!(!of(None, None));
    }
}
