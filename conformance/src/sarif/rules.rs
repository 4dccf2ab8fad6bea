//! The rules that results name, with their help.

use serde_sarif::sarif::ResultLevel;

use crate::comparison::Field;

/// What a result is a case of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Stable: code scanning tells alerts apart by it.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it means, and what to do.
    pub help: &'static str,
    /// How bad it is.
    pub level: Level,
}

/// How bad a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It must be mended.
    Error,
    /// It should be looked at.
    Warning,
    /// It is worth knowing.
    Note,
}

impl Level {
    /// As the format names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    /// As the library names it.
    pub fn of_result(self) -> ResultLevel {
        match self {
            Self::Error => ResultLevel::Error,
            Self::Warning => ResultLevel::Warning,
            Self::Note => ResultLevel::Note,
        }
    }
}

const DIVERGES: &str = "The engine decides these requests otherwise than what it is compared with: \
     the recording of an Envoy, or the plain reading `spec`. The result stands at the field on which \
     the decisions part. `twinmesh explain` tells every step of one of the requests; the \
     reproducer that `twinmesh conform` writes is the smallest case that still diverges.";

/// Decisions differ in a field; the first of them, in the order of the format, gives the rule.
pub fn divergence(field: Option<Field>) -> &'static Rule {
    macro_rules! rule {
        ($id:literal, $title:literal) => {{
            const RULE: Rule = Rule {
                id: $id,
                title: $title,
                help: DIVERGES,
                level: Level::Error,
            };
            &RULE
        }};
    }
    match field {
        Some(Field::Outcome) => rule!("divergence/outcome", "Engines differ in the outcome"),
        Some(Field::Listener) => rule!("divergence/listener", "Engines differ in the listener"),
        Some(Field::FilterChain) => {
            rule!(
                "divergence/filter-chain",
                "Engines differ in the filter chain"
            )
        }
        Some(Field::RouteConfig) => rule!(
            "divergence/route-configuration",
            "Engines differ in the route configuration"
        ),
        Some(Field::VirtualHost) => {
            rule!(
                "divergence/virtual-host",
                "Engines differ in the virtual host"
            )
        }
        Some(Field::Route) => rule!("divergence/route", "Engines differ in the route"),
        Some(Field::Cluster) => rule!("divergence/cluster", "Engines differ in the cluster"),
        Some(Field::Endpoint) => rule!("divergence/endpoint", "Engines differ in the endpoint"),
        Some(Field::Priority) => rule!("divergence/priority", "Engines differ in the priority"),
        Some(Field::Locality) => rule!("divergence/locality", "Engines differ in the locality"),
        Some(Field::Status) => rule!("divergence/status", "Engines differ in the status"),
        Some(Field::Body) => rule!("divergence/body", "Engines differ in the body"),
        Some(Field::Location) => rule!("divergence/location", "Engines differ in the location"),
        Some(Field::Path) => rule!(
            "divergence/path",
            "Engines differ in the path sent upstream"
        ),
        Some(Field::Authority) => rule!(
            "divergence/authority",
            "Engines differ in the authority sent upstream"
        ),
        Some(Field::RequestHeaders) => rule!(
            "divergence/request-headers",
            "Engines differ in the headers sent upstream"
        ),
        Some(Field::ResponseHeaders) => rule!(
            "divergence/response-headers",
            "Engines differ in the headers that the client gets"
        ),
        Some(Field::Mirrors) => rule!(
            "divergence/mirrors",
            "Engines differ in the clusters that get a copy"
        ),
        Some(Field::Attempts | Field::Tries) => {
            rule!("divergence/attempts", "Engines differ in the attempts")
        }
        Some(Field::ResponseFlags) => rule!(
            "divergence/response-flags",
            "Engines differ in the response flags"
        ),
        Some(Field::DurationUs) => {
            rule!("divergence/duration", "Engines differ in the duration")
        }
        Some(Field::Engine | Field::Reason) | None => rule!(
            "divergence/trace",
            "Engines agree in the decision and differ in its steps, or in shares"
        ),
    }
}

/// Envoy would refuse the snapshot, or it cannot be read.
pub const REFUSED: Rule = Rule {
    id: "snapshot/refused",
    title: "The snapshot is refused",
    help: "Envoy 1.40 would not take this configuration, or the file is none of the forms that are \
         read. The message says what was expected and what was found.",
    level: Level::Error,
};

/// The compiled tables do not hold the snapshot.
pub const OVER_CAPACITY: Rule = Rule {
    id: "snapshot/over-capacity",
    title: "The compiled tables do not hold the snapshot",
    help: "The snapshot has more of something than the tables of `sim`, `bpf-vm` and `kernel` hold. \
         `spec` decides it all the same.",
    level: Level::Error,
};

/// A field is not known.
pub const UNKNOWN_FIELD: Rule = Rule {
    id: "snapshot/unknown-field",
    title: "A field is not in the API of Envoy 1.40",
    help: "The field is misspelt, or of another version of Envoy's API. Where it could influence a \
         decision, requests that get that far have the outcome `unsupported`.",
    level: Level::Warning,
};

/// An extension is not built in.
pub const UNKNOWN_TYPE: Rule = Rule {
    id: "snapshot/unknown-type",
    title: "An extension type is not built in",
    help: "Twinmesh does not know this extension. Where it could influence a decision, requests that \
         get that far have the outcome `unsupported`.",
    level: Level::Warning,
};

/// What it stands in is not decided.
pub const UNSUPPORTED: Rule = Rule {
    id: "snapshot/unsupported",
    title: "Requests that get this far are not decided",
    help: "Envoy takes this field and Twinmesh does not decide by it: requests that get that far have \
         the outcome `unsupported`, never another decision. Nothing is wrong with the configuration.",
    level: Level::Warning,
};

/// Only the tables leave it undecided.
pub const UNSUPPORTED_BY_TABLES: Rule = Rule {
    id: "snapshot/unsupported-by-tables",
    title: "The compiled tables do not decide this",
    help: "`spec` decides it; `sim`, `bpf-vm` and `kernel` answer `unsupported` for the requests that \
         the message names.",
    level: Level::Warning,
};

/// It is not in force, or stands elsewhere.
pub const NOT_IN_FORCE: Rule = Rule {
    id: "snapshot/not-in-force",
    title: "Decisions are made without this",
    help: "It is not in force (an update that is warming, draining or was refused; a listener that no \
         connection reaches), it stands outside the snapshot, or it is a load or a runtime value that is \
         not looked at. Decisions follow from what is in force; an Envoy to which this applies decides otherwise.",
    level: Level::Warning,
};

/// It changes no decision.
pub const READ_OVER: Rule = Rule {
    id: "snapshot/read-over",
    title: "A field is read over",
    help: "No decision depends on this field; it does something that decisions do not tell of.",
    level: Level::Note,
};
