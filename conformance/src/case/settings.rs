//! `case.toml`: where a case comes from, and how strictly its decisions are compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use twinmesh_engine::{Decision, FormatError, Outcome};
use twinmesh_xds::Profile;

use crate::comparison::{Field, Fields};

/// The content of a `case.toml`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The case's name; by custom its folder's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The set of cases that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Whose rules decide; Envoy 1.40's unless it says so.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "profile",
        serialize_with = "profile_name"
    )]
    pub profile: Option<Profile>,
    /// How many lines the traffic file has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<usize>,
    /// How often each outcome was recorded; for the reader.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<Outcome, u64>,
    /// What is worth knowing about it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where the configuration comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy: Option<Recorder>,
    /// How the recorded decisions are compared; without it every field exactly.
    #[serde(default)]
    pub comparison: Comparison,
}

fn profile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Profile>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(D::Error::custom)
}

#[expect(
    clippy::ref_option,
    reason = "serde calls it with a reference to the field"
)]
fn profile_name<S: Serializer>(
    profile: &Option<Profile>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&profile.unwrap_or_default())
}

/// `[source]`: where a case's configuration comes from.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each says what its name says, for the reader only"
)]
pub struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// `[envoy]`: what recorded the decisions.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recorder {
    /// Envoy's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its `--concurrency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many runs in fresh processes were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_runs: Option<u32>,
    /// Whether the instrumented configuration is the one of the dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instrumented_copy_equals_dump: Option<bool>,
}

/// `[comparison]`: each field of a decision is compared exactly or ignored.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Compared for each request, save where a rule below frees them.
    pub exact: Vec<Field>,
    /// Never compared.
    pub ignored: Vec<Field>,
    /// Sequences of picks that are exact up to where they start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phase: Vec<Phase>,
    /// What is random.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distribution: Vec<Distribution>,
}

/// `[[comparison.phase]]`: the picks of a cluster, in file order, are those recorded up to a
/// rotation.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The cluster.
    pub cluster: String,
    /// The requests whose picks follow one another, in file order: others name their endpoint.
    /// `None`: all of the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// What a pick consists of; freed from the exact comparison.
    pub fields: Vec<Field>,
    /// After how many picks the sequence starts anew.
    pub period: usize,
    /// The period was found in the recording, not derived from the policy alone.
    #[serde(default)]
    pub observed: bool,
}

/// `[[comparison.distribution]]`: fields that are random where every selector given fits the
/// recorded decision.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Selects decisions of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Selects decisions of this route configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_config: Option<String>,
    /// Selects decisions of this virtual host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// Selects decisions of this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Selects these requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// What is freed from the exact comparison.
    pub fields: Vec<Field>,
    /// What share of the requests each cluster gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, u64>>,
}

impl Default for Comparison {
    fn default() -> Self {
        let compared = Fields::EVERY.without(Field::NEVER_COMPARED);
        Self {
            exact: compared.iter().collect(),
            ignored: Field::NEVER_COMPARED.iter().collect(),
            phase: Vec::new(),
            distribution: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads a `case.toml`.
    ///
    /// # Errors
    /// It cannot be read, has an unknown key or type, or a comparison that leaves open what is
    /// compared.
    pub fn read(file: &Path) -> Result<Self, FormatError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| FormatError::file(file, format!("cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    /// Reads the content of a `case.toml`; `file` is its name in errors.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..start).unwrap_or(text);
            let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
            FormatError {
                file: file.to_owned(),
                line: Some(before.matches('\n').count() + 1),
                column: Some(column),
                field: None,
                message: error.message().to_owned(),
            }
        })?;
        settings
            .comparison
            .check()
            .map_err(|(field, message)| FormatError {
                field: Some(format!("comparison.{field}")),
                ..FormatError::file(file, message)
            })?;
        Ok(settings)
    }
}

impl Comparison {
    fn check(&self) -> Result<(), (String, String)> {
        let exact: Fields = self.exact.iter().copied().collect();
        for field in Field::ALL {
            let times = self.exact.iter().chain(&self.ignored);
            match times.filter(|other| **other == field).count() {
                1 => (),
                0 if Field::OPTIONAL.contains(field) => (),
                0 => {
                    let message = format!("`{}` is in neither `exact` nor `ignored`", field.name());
                    return Err(("exact".to_owned(), message));
                }
                _ => {
                    let message =
                        format!("`{}` is named twice in `exact` and `ignored`", field.name());
                    return Err(("exact".to_owned(), message));
                }
            }
            if exact.contains(field) && Field::NEVER_COMPARED.contains(field) {
                let message = format!(
                    "`{}` says who decided: no two engines agree in it",
                    field.name()
                );
                return Err(("exact".to_owned(), message));
            }
        }
        for (index, phase) in self.phase.iter().enumerate() {
            let at = |member: &str| format!("phase[{index}].{member}");
            if phase.period == 0 {
                return Err((at("period"), "expected at least 1, found 0".to_owned()));
            }
            if phase.fields.is_empty() {
                return Err((at("fields"), "expected at least one field".to_owned()));
            }
        }
        for (index, distribution) in self.distribution.iter().enumerate() {
            let at = |member: &str| format!("distribution[{index}].{member}");
            if distribution.fields.is_empty() {
                return Err((at("fields"), "expected at least one field".to_owned()));
            }
            if distribution.selects_everything() {
                let message = "expected at least one of `cluster`, `route_config`, `virtual_host`, `route`, `ids`: without any it frees every request";
                return Err((format!("distribution[{index}]"), message.to_owned()));
            }
            if let Some(weights) = &distribution.weights {
                if !distribution.fields.contains(&Field::Cluster) {
                    let message = "expected `cluster` in `fields`: weights are those of clusters";
                    return Err((at("weights"), message.to_owned()));
                }
                if weights.values().all(|weight| *weight == 0) {
                    let message = "expected a weight over 0";
                    return Err((at("weights"), message.to_owned()));
                }
            }
        }
        Ok(())
    }
}

impl Phase {
    /// Whether it is about this decision's pick.
    pub fn is_of(&self, decision: &Decision) -> bool {
        let mut ids = self.ids.iter().flatten();
        decision.cluster.as_deref() == Some(&self.cluster)
            && (self.ids.is_none() || ids.any(|id| *id == decision.id))
    }
}

impl Distribution {
    fn selects_everything(&self) -> bool {
        self.cluster.is_none()
            && self.route_config.is_none()
            && self.virtual_host.is_none()
            && self.route.is_none()
            && self.ids.is_none()
    }
}
