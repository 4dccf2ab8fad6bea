//! From a file to a snapshot.

use std::path::Path;

use crate::{
    assemble,
    error::ReadError,
    form::{self, Form},
    profile::Profile,
    snapshot::Snapshot,
    source::Source,
};

/// How a snapshot is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Refuse a snapshot in which anything is not known or not decided.
    pub strict: bool,
    /// Whose rules decide.
    pub profile: Profile,
}

/// Reads a snapshot, in any of the forms.
///
/// # Errors
/// The file cannot be read, is none of the forms, or holds what Envoy would refuse; in strict
/// mode also what is not known or not decided here.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Snapshot, ReadError> {
    let file = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => read_bytes(&file, &bytes, options),
        Err(source) => Err(ReadError::Unreadable { file, source }),
    }
}

/// Reads a snapshot from the content of a file; `name` stands for the file in errors, and tells
/// YAML by its ending where the content starts as JSON does.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Snapshot, ReadError> {
    let mut snapshot = match form::as_text(name, bytes)? {
        Some(text) => {
            let document = form::document(name, text)?;
            let input = form::detect(name, &document)?;
            let source = Source {
                file: name,
                document: Some(&document),
            };
            assemble(&input, options.profile, &source)?
        }
        None => {
            let source = Source {
                file: name,
                document: None,
            };
            assemble(
                &form::detect_binary(&source, bytes)?,
                options.profile,
                &source,
            )?
        }
    };
    snapshot.take_profile(options.profile);
    if options.strict && !snapshot.report.findings.is_empty() {
        return Err(ReadError::Strict {
            file: name.to_owned(),
            report: Box::new(snapshot.report),
        });
    }
    Ok(snapshot)
}

fn assemble(
    input: &form::Input,
    profile: Profile,
    source: &Source<'_>,
) -> Result<Snapshot, ReadError> {
    let mut resources = form::collect(input, source)?;
    resources.profile = profile;
    assemble::assemble(resources, input.form != Form::ConfigDump, source)
}
