//! Scripts: what is served when, and how the server behaves meanwhile. `docs/xds.md` has the
//! format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use twinmesh_ads::Kind;

use crate::behaviour::{Behaviour, Command, Nonce, Poison};
use crate::event::{Event, What};
use crate::served::{Served, ServedError};
use crate::server::{ControlPlane, Leader};

/// Why a script is not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The script cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Unreadable {
        /// The script.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a script.
    #[error("{}: {field}: {problem}", .path.display())]
    Invalid {
        /// The script.
        path: PathBuf,
        /// Field path.
        field: String,
        /// What is wrong, with the line.
        problem: String,
    },
    /// What a step serves is not there.
    #[error("{}: {field}: {source}", .path.display())]
    Served {
        /// The script.
        path: PathBuf,
        /// Field path.
        field: String,
        /// Why.
        source: ServedError,
    },
}

/// A script that was read, with its snapshots.
#[derive(Debug)]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    after: AfterText,
    served: Option<Served>,
    version: Option<String>,
    remove: Vec<(Kind, String)>,
    behaviour: Option<Behaviour>,
    flood: Option<FloodText>,
    commands: Vec<Command>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptText {
    snapshot: Option<PathBuf>,
    version: Option<String>,
    behaviour: Option<BehaviourText>,
    #[serde(default)]
    steps: Vec<StepText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    #[serde(default)]
    after: AfterText,
    snapshot: Option<PathBuf>,
    version: Option<String>,
    #[serde(default)]
    remove: Vec<RemoveText>,
    behaviour: Option<BehaviourText>,
    flood: Option<FloodText>,
    repeat: Option<RepeatText>,
    unsolicited: Option<String>,
    #[serde(default)]
    close: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AfterText {
    seconds: Option<f64>,
    ack: Option<Service>,
    nack: Option<Service>,
    subscribe: Option<Service>,
    version: Option<String>,
    client: Option<String>,
    count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveText {
    r#type: Service,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepeatText {
    r#type: Service,
    times: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloodText {
    count: u32,
    milliseconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BehaviourText {
    #[serde(default)]
    nonce: Nonce,
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    duplicate: bool,
    close_after: Option<u32>,
    #[serde(default)]
    silent: BTreeSet<Service>,
    #[serde(default)]
    delay_seconds: BTreeMap<Service, f64>,
    early: Option<Service>,
    #[serde(default)]
    poison: BTreeMap<Service, Poison>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Service {
    #[serde(rename = "CDS")]
    Clusters,
    #[serde(rename = "EDS")]
    Endpoints,
    #[serde(rename = "LDS")]
    Listeners,
    #[serde(rename = "RDS")]
    Routes,
}

impl Service {
    fn kind(self) -> Kind {
        match self {
            Service::Clusters => Kind::Cluster,
            Service::Endpoints => Kind::LoadAssignment,
            Service::Listeners => Kind::Listener,
            Service::Routes => Kind::RouteConfiguration,
        }
    }
}

impl Script {
    /// Reads a script, in TOML or (where its name ends in `.json`) JSON, and all its snapshots;
    /// their paths are relative to the script.
    ///
    /// # Errors
    /// The script or a snapshot is wrong.
    pub fn read(path: &Path) -> Result<Script, ScriptError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScriptError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let text: ScriptText = parse(path, &text)?;
        let reader = Reader {
            path,
            folder: path.parent().unwrap_or(Path::new("")),
        };
        let mut steps = Vec::with_capacity(text.steps.len() + 1);
        steps.push(Step {
            after: AfterText::default(),
            served: reader.served("snapshot", text.snapshot, text.version.as_deref())?,
            version: None,
            remove: Vec::new(),
            behaviour: reader.behaviour("behaviour", text.behaviour)?,
            flood: None,
            commands: Vec::new(),
        });
        for (index, step) in text.steps.into_iter().enumerate() {
            steps.push(reader.step(&format!("steps[{index}]"), step)?);
        }
        Ok(Script { steps })
    }

    /// Follows the script to its end.
    ///
    /// # Errors
    /// A resource that a step removes is not there.
    pub async fn follow(self, server: &ControlPlane) -> Result<(), ServedError> {
        let leader = server.leader();
        let mut start = 0;
        for step in self.steps {
            step.after.wait(&leader, start).await;
            start = leader.events();
            step.run(&leader).await?;
        }
        Ok(())
    }
}

impl AfterText {
    async fn wait(&self, leader: &Leader, start: usize) {
        if let Some(seconds) = self.seconds
            && let Ok(time) = Duration::try_from_secs_f64(seconds)
        {
            tokio::time::sleep(time).await;
        }
        let awaited = [
            (self.ack, What::Ack),
            (self.nack, What::Nack),
            (self.subscribe, What::Subscribe),
        ];
        for (service, what) in awaited {
            let Some(service) = service else { continue };
            let fits = |event: &&Event| {
                event.event == what
                    && event.r#type == service.kind().service()
                    && (self.version.as_ref()).is_none_or(|version| *version == event.version)
                    && (self.client.as_ref()).is_none_or(|client| *client == event.client)
            };
            // What has a version may have happened while the step before was awaited.
            let start = if self.version.is_some() { 0 } else { start };
            let count = self.count.unwrap_or(1);
            leader
                .wait(start, |events| events.iter().filter(fits).count() >= count)
                .await;
        }
    }
}

impl Step {
    async fn run(self, leader: &Leader) -> Result<(), ServedError> {
        if let Some(behaviour) = self.behaviour {
            leader.behave(behaviour);
        }
        if self.served.is_some() || self.version.is_some() || !self.remove.is_empty() {
            let mut served = match self.served {
                Some(served) => served,
                None => (*leader.served()).clone(),
            };
            for (kind, name) in &self.remove {
                served.remove(*kind, name)?;
            }
            if let Some(version) = &self.version {
                served.set_versions(Some(version));
            }
            leader.serve(served);
        }
        for command in self.commands {
            leader.command(command);
        }
        if let Some(flood) = self.flood {
            for index in 0..flood.count {
                let mut served = (*leader.served()).clone();
                served.touch(&format!("flood-{index}"));
                leader.serve(served);
                tokio::time::sleep(Duration::from_millis(flood.milliseconds)).await;
            }
        }
        Ok(())
    }
}

struct Reader<'r> {
    path: &'r Path,
    folder: &'r Path,
}

impl Reader<'_> {
    fn served(
        &self,
        field: &str,
        snapshot: Option<PathBuf>,
        version: Option<&str>,
    ) -> Result<Option<Served>, ScriptError> {
        let Some(snapshot) = snapshot else {
            return Ok(None);
        };
        match Served::read(&self.folder.join(snapshot), version) {
            Ok(served) => Ok(Some(served)),
            Err(source) => Err(ScriptError::Served {
                path: self.path.to_owned(),
                field: field.to_owned(),
                source,
            }),
        }
    }

    fn invalid(&self, field: String, problem: String) -> ScriptError {
        ScriptError::Invalid {
            path: self.path.to_owned(),
            field,
            problem,
        }
    }

    fn time(&self, field: String, seconds: f64) -> Result<Duration, ScriptError> {
        Duration::try_from_secs_f64(seconds).map_err(|error| {
            self.invalid(
                field,
                format!("expected a number of seconds, found {seconds}: {error}"),
            )
        })
    }

    fn behaviour(
        &self,
        field: &str,
        text: Option<BehaviourText>,
    ) -> Result<Option<Behaviour>, ScriptError> {
        let Some(text) = text else { return Ok(None) };
        let mut delay = BTreeMap::new();
        for (service, seconds) in text.delay_seconds {
            let field = format!("{field}.delay_seconds.{}", service.kind());
            delay.insert(service.kind(), self.time(field, seconds)?);
        }
        Ok(Some(Behaviour {
            nonce: text.nonce,
            reverse: text.reverse,
            duplicate: text.duplicate,
            close_after: text.close_after,
            silent: text.silent.into_iter().map(Service::kind).collect(),
            delay,
            early: text.early.map(Service::kind),
            poison: text
                .poison
                .into_iter()
                .map(|(service, poison)| (service.kind(), poison))
                .collect(),
        }))
    }

    fn step(&self, field: &str, text: StepText) -> Result<Step, ScriptError> {
        if let Some(seconds) = text.after.seconds {
            self.time(format!("{field}.after.seconds"), seconds)?;
        }
        let mut commands = Vec::new();
        if let Some(repeat) = text.repeat {
            commands.push(Command::Repeat(repeat.r#type.kind(), repeat.times));
        }
        commands.extend(text.unsolicited.map(Command::Unsolicited));
        if text.close {
            commands.push(Command::Close);
        }
        let removed = text.remove.into_iter();
        Ok(Step {
            after: text.after,
            served: self.served(
                &format!("{field}.snapshot"),
                text.snapshot,
                text.version.as_deref(),
            )?,
            version: text.version,
            remove: removed
                .map(|remove| (remove.r#type.kind(), remove.name))
                .collect(),
            behaviour: self.behaviour(&format!("{field}.behaviour"), text.behaviour)?,
            flood: text.flood,
            commands,
        })
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ScriptError> {
    let invalid = |field: String, problem: String| ScriptError::Invalid {
        path: path.to_owned(),
        field,
        problem,
    };
    if path.extension().is_some_and(|ending| ending == "json") {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| invalid(error.path().to_string(), error.inner().to_string()))?;
        json.end()
            .map_err(|error| invalid(".".to_owned(), error.to_string()))?;
        return Ok(read);
    }
    let toml = toml::Deserializer::parse(text)
        .map_err(|error| invalid(".".to_owned(), error.to_string()))?;
    serde_path_to_error::deserialize(toml)
        .map_err(|error| invalid(error.path().to_string(), error.inner().to_string()))
}
