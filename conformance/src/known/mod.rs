//! Divergences that are known, each with its reason and where it is said.

mod fields;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use twinmesh_engine::{Decision, FormatError};
use twinmesh_xds::Snapshot;

use crate::comparison::{Divergence, Field};
use crate::engines;
use fields::FieldPaths;

/// The list that is used where no other is named.
const BUILT_IN: &str = include_str!("../../known-divergences.toml");

/// Its place in the tree, for errors.
const BUILT_IN_FILE: &str = "conformance/known-divergences.toml";

/// A file of known divergences.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// `[[known]]`.
    #[serde(default, rename = "known")]
    pub entries: Vec<Entry>,
    /// The file, for messages.
    #[serde(skip)]
    file: PathBuf,
}

/// One known divergence. It fits where all patterns that it has fit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The engine that differs.
    pub engine: String,
    /// The fields that may differ; a divergence in any other is not this one.
    pub fields: Vec<Field>,
    /// Words in the engine's `reason`.
    #[serde(default)]
    pub says: Option<String>,
    /// A field that the snapshot has, by the last members of its path, such as
    /// `circuit_breakers.thresholds.max_requests`.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Why they differ.
    pub reason: String,
    /// Where that is documented or measured.
    pub source: String,
}

impl Known {
    /// Reads a file, or the built-in list.
    ///
    /// # Errors
    /// It cannot be read, or an entry is not what it should be.
    pub fn read(file: Option<&Path>) -> Result<Self, FormatError> {
        let Some(file) = file else {
            return Self::parse(Path::new(BUILT_IN_FILE), BUILT_IN);
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| FormatError::file(file, format!("cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let mut known: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..start).unwrap_or(text);
            FormatError {
                line: Some(before.matches('\n').count() + 1),
                ..FormatError::file(file, error.message().to_owned())
            }
        })?;
        file.clone_into(&mut known.file);
        for (index, entry) in known.entries.iter().enumerate() {
            let wrong = |field: &str, message: String| FormatError {
                field: Some(format!("known[{index}].{field}")),
                ..FormatError::file(file, message)
            };
            if !engines::NAMES.contains(&entry.engine.as_str()) {
                return Err(wrong("engine", engines::unknown(&entry.engine)));
            }
            let mut empty = [
                ("fields", entry.fields.is_empty()),
                ("reason", entry.reason.trim().is_empty()),
                ("source", entry.source.trim().is_empty()),
            ]
            .into_iter();
            if let Some((field, _)) = empty.find(|(_, is_empty)| *is_empty) {
                return Err(wrong(field, "expected something, found nothing".to_owned()));
            }
            if entry.says.is_none() && entry.snapshot.is_none() {
                let message = "expected it or `snapshot`: without either the entry fits every divergence in its fields";
                return Err(wrong("says", message.to_owned()));
            }
        }
        Ok(known)
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// For the divergences of one engine over one snapshot.
    pub fn of<'a>(&'a self, engine: &str, snapshot: &'a Snapshot) -> Matcher<'a> {
        let own = self.entries.iter().enumerate();
        let own: Vec<(usize, &Entry)> = own.filter(|(_, it)| it.engine == engine).collect();
        let paths = own.iter().any(|(_, entry)| entry.snapshot.is_some());
        let paths = paths.then(|| FieldPaths::of(snapshot));
        Matcher {
            entries: own
                .into_iter()
                .filter(|(_, entry)| {
                    let wanted = entry.snapshot.as_ref();
                    wanted.is_none_or(|it| paths.as_ref().is_some_and(|paths| paths.have(it)))
                })
                .collect(),
        }
    }
}

/// The entries that can fit a divergence of a run.
#[derive(Debug, Clone)]
pub struct Matcher<'a> {
    entries: Vec<(usize, &'a Entry)>,
}

impl Matcher<'_> {
    /// The first entry that fits, as its index.
    pub fn matching(&self, divergence: &Divergence, found: &Decision) -> Option<usize> {
        let fits = |entry: &Entry| {
            let mut fields = divergence.fields.iter();
            let says = found.reason.as_deref().unwrap_or_default();
            fields.all(|field| entry.fields.contains(&field))
                && entry.says.as_ref().is_none_or(|words| says.contains(words))
        };
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| fits(entry))
            .map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::comparison::Fields;

    const ENTRY: &str = r#"
        [[known]]
        engine = "envoy"
        fields = ["outcome", "status"]
        says = "UO"
        reason = "circuit breakers are taken as never reached"
        source = "README"
    "#;

    fn parse(text: &str) -> Result<Known, FormatError> {
        Known::parse(Path::new("known.toml"), text)
    }

    #[test]
    fn the_built_in_list_is_sound() {
        Known::read(None).expect("it is read by every run");
    }

    #[rstest]
    #[case::it(&[Field::Outcome], "overflow UO", Some(0))]
    #[case::fewer_words(&[Field::Outcome, Field::Status], "UO", Some(0))]
    #[case::another_field(&[Field::Outcome, Field::Cluster], "overflow UO", None)]
    #[case::another_reason(&[Field::Outcome], "via_upstream", None)]
    fn entries_fit(#[case] fields: &[Field], #[case] says: &str, #[case] expected: Option<usize>) {
        let known = parse(ENTRY).expect("it is sound");
        let divergence = Divergence {
            fields: fields.iter().copied().collect::<Fields>(),
            note: None,
        };
        let found = Decision {
            reason: Some(says.to_owned()),
            ..Decision::default()
        };
        let snapshot = Snapshot::default();
        let matcher = known.of("envoy", &snapshot);
        assert_eq!(matcher.matching(&divergence, &found), expected);
        let other = known.of("sim", &snapshot);
        assert_eq!(other.matching(&divergence, &found), None);
    }

    #[rstest]
    #[case(r#"engine = "envoy""#, r#"engine = "nginx""#, "known[0].engine")]
    #[case(r#"says = "UO""#, "", "known[0].says")]
    #[case(r#"source = "README""#, r#"source = " ""#, "known[0].source")]
    #[case(r#"fields = ["outcome", "status"]"#, "fields = []", "known[0].fields")]
    #[case(r#"says = "UO""#, "sais = 1", "known.toml:5")]
    fn what_is_wrong_is_named(#[case] from: &str, #[case] to: &str, #[case] named: &str) {
        let error = parse(&ENTRY.replace(from, to)).expect_err("it is wrong");
        assert!(error.to_string().contains(named), "{error}");
    }
}
