//! Why a snapshot is not read.

use std::fmt;

/// Why a snapshot is not read, in words for whoever has to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The content is neither text nor a protobuf message that is known here.
    #[error("{place}: {problem}; the forms that are read are {}", FORMS)]
    UnknownForm {
        /// Where.
        place: Box<Place>,
        /// What was found instead.
        problem: String,
    },
    /// The text is not JSON, or not YAML.
    #[error("{place}: not valid {format}: expected {expected}, found {found}")]
    Syntax {
        /// Where.
        place: Box<Place>,
        /// `JSON` or `YAML`.
        format: &'static str,
        /// What could have stood there.
        expected: String,
        /// What does.
        found: String,
    },
    /// An object names one key twice. Envoy takes that; which of the two it keeps, a reader of the
    /// file cannot see.
    #[error(
        "{place}: the key {key:?} stands twice in one object, first on line {first}; this is \
         Twinmesh's own rule, not Envoy's, which takes such a file without a word"
    )]
    DuplicateKey {
        /// Where the second stands.
        place: Box<Place>,
        /// The key.
        key: String,
        /// Line of the first.
        first: u64,
    },
    /// A value does not have the type of its field.
    #[error("{place}: expected {expected}, found {found}")]
    Type {
        /// Where.
        place: Box<Place>,
        /// The type, or the values, that the field takes.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A hand-written form has a field that Envoy's API does not have.
    #[error("{place}: {message} has no such field{}", hint(.similar))]
    UnknownField {
        /// Where.
        place: Box<Place>,
        /// The message's name.
        message: String,
        /// A field of a similar name.
        similar: Option<String>,
    },
    /// A binary message is cut off or is not what it should be.
    #[error("{place}: not a valid {message}: {problem}")]
    Wire {
        /// Where.
        place: Box<Place>,
        /// The message's name.
        message: String,
        /// What is wrong.
        problem: String,
    },
    /// Envoy would refuse the configuration.
    #[error("{place}: Envoy refuses this: {problem}")]
    Invalid {
        /// Where.
        place: Box<Place>,
        /// What the rule is and what was found.
        problem: String,
    },
    /// The snapshot is read, but not all of it is known and decided, and `strict` asks for that.
    #[error("{}", strict(.file, .report))]
    Strict {
        /// The file.
        file: String,
        /// What was found.
        report: Box<crate::Report>,
    },
}

impl ReadError {
    /// Where it is; `None` where the file as a whole is meant.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Unreadable { .. } | Self::Strict { .. } => None,
            Self::UnknownForm { place, .. }
            | Self::Syntax { place, .. }
            | Self::DuplicateKey { place, .. }
            | Self::Type { place, .. }
            | Self::UnknownField { place, .. }
            | Self::Wire { place, .. }
            | Self::Invalid { place, .. } => Some(place),
        }
    }
}

/// Said where content is none of them.
pub(crate) const FORMS: &str = "Envoy's /config_dump (also as `istioctl proxy-config all -o json` \
     gives it), a static bootstrap, one or a stream of DiscoveryResponses (JSON or binary), and a \
     RouteConfiguration (JSON or YAML)";

/// Where something stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line and column, both from 1; columns count characters. `None` in a binary form.
    pub position: Option<(u64, u64)>,
    /// Field path; empty where the file as a whole is meant.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(formatter, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(formatter, ": {}", self.path)?;
        }
        Ok(())
    }
}

fn hint(similar: &Option<String>) -> String {
    match similar {
        Some(similar) => format!("; a similar one is {similar:?}"),
        None => String::new(),
    }
}

fn strict(file: &str, report: &crate::Report) -> String {
    const SHOWN: usize = 20;
    let findings = match report.findings.len() {
        1 => "1 finding is".to_owned(),
        count => format!("{count} findings are"),
    };
    let mut text = format!("{file}: refused, as strict asks: {findings} not known or not decided");
    // Those first that make requests unsupported, those last that change no decision.
    let mut sorted: Vec<&crate::Finding> = report.findings.iter().collect();
    sorted.sort_by_key(|finding| match finding.effect {
        crate::Effect::Unsupported => 0,
        crate::Effect::Caution => 1,
        crate::Effect::ReadOver => 2,
    });
    for finding in sorted.into_iter().take(SHOWN) {
        text.push_str(&format!("\n  {finding}"));
    }
    if report.findings.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", report.findings.len() - SHOWN));
    }
    text
}
