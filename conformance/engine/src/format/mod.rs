//! The JSON Lines formats (traffic, decisions, events) and endpoint scripts. `docs/formats.md`
//! describes them.

pub mod decisions;
pub mod endpoints;
pub mod events;
mod json_lines;
pub mod traffic;

use std::path::{Path, PathBuf};

/// A file does not have the form that it should have, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` where the whole file is meant.
    pub line: Option<usize>,
    /// The column in bytes, from 1.
    pub column: Option<usize>,
    /// The field, as a path inside the line's object.
    pub field: Option<String>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl FormatError {
    /// An error about the whole file.
    pub fn file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            field: None,
            message: message.into(),
        }
    }

    /// An error about one field of one line.
    pub fn field(file: &Path, line: usize, field: &str, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            field: Some(field.to_owned()),
            ..Self::file(file, message)
        }
    }
}

impl std::fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(formatter, ":{column}")?;
        }
        if let Some(field) = &self.field {
            write!(formatter, ": field `{field}`")?;
        }
        write!(formatter, ": {}", self.message)
    }
}

impl std::error::Error for FormatError {}
