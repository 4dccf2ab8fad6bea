//! The file that is being read, as far as an error has to name it.

use crate::{
    error::{Place, ReadError},
    path::Path,
    text::Document,
};

/// A file, and its text where it has one.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) document: Option<&'a Document<'a>>,
}

impl Source<'_> {
    /// Where a path stands in this file.
    pub(crate) fn place(&self, path: &Path) -> Box<Place> {
        Box::new(Place {
            file: self.file.to_owned(),
            position: self.document.and_then(|document| document.locate(path)),
            path: path.to_string(),
        })
    }

    /// Envoy refuses what stands there.
    pub(crate) fn invalid(&self, path: &Path, problem: impl Into<String>) -> ReadError {
        ReadError::Invalid {
            place: self.place(path),
            problem: problem.into(),
        }
    }

    /// What stands there is not what the schema says.
    pub(crate) fn wire(&self, path: &Path, message: &str, problem: impl Into<String>) -> ReadError {
        ReadError::Wire {
            place: self.place(path),
            message: message.to_owned(),
            problem: problem.into(),
        }
    }

    /// Another type was expected there.
    pub(crate) fn mismatch(
        &self,
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> ReadError {
        ReadError::Type {
            place: self.place(path),
            expected: expected.into(),
            found: found.into(),
        }
    }
}
