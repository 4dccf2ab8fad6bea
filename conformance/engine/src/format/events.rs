//! Events files: `*.events.jsonl`. Endpoints change health or vanish, and snapshots are replaced,
//! at given times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use serde::{Deserialize, Serialize};
use twinmesh_xds::Snapshot;

use super::{FormatError, json_lines};
use crate::endpoint;

/// A line of an events file: a time and exactly one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLine {
    /// When, in microseconds of virtual time: before the first request that arrives then or later.
    pub time_us: u64,
    /// An endpoint's health changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointHealth>,
    /// An endpoint vanishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_endpoint: Option<EndpointName>,
    /// The snapshot is replaced by the one in this file; the path is relative to the events file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<PathBuf>,
}

/// Which endpoint gets which health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointHealth {
    /// Name of the cluster.
    pub cluster: String,
    /// `ip:port`, or a pipe's path.
    pub address: String,
    /// `LbEndpoint.health_status`, by its name in Envoy's API: `HEALTHY`, `UNHEALTHY`, `DRAINING`,
    /// `TIMEOUT`, `DEGRADED`, `UNKNOWN`.
    pub health_status: String,
}

/// Names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointName {
    /// Name of the cluster.
    pub cluster: String,
    /// `ip:port`, or a pipe's path.
    pub address: String,
}

/// What an event changes.
#[derive(Debug, Clone)]
enum Change {
    Health(EndpointName, HealthStatus),
    Remove(EndpointName),
    Replace(Arc<Snapshot>),
}

#[derive(Debug, Clone)]
struct Event {
    line: usize,
    time_us: u64,
    change: Change,
}

/// All events of a run, in order of time, known to fit the snapshots that they change.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    file: PathBuf,
    events: Vec<Event>,
}

/// Reads the snapshot that an event names.
pub type SnapshotReader<'a> = dyn FnMut(&Path) -> Result<Snapshot, String> + 'a;

impl Schedule {
    /// Reads an events file, every snapshot it names included, and tries each event on the
    /// snapshot of its time, so that a run does not stop midway.
    ///
    /// # Errors
    /// The file cannot be read, a line is no event, time goes backwards, a snapshot cannot be
    /// read, or an event names a cluster or endpoint that is not there at its time.
    pub fn read(
        file: &Path,
        first: &Snapshot,
        read_snapshot: &mut SnapshotReader<'_>,
    ) -> Result<Self, FormatError> {
        let mut now = 0;
        let mut schedule = Self {
            file: file.to_owned(),
            events: Vec::new(),
        };
        for line in json_lines::read::<EventLine>(file)? {
            let number = line.number;
            if line.value.time_us < now {
                let message = format!(
                    "{} is before {now}, the time on the line before: events stand in order of time",
                    line.value.time_us
                );
                return Err(FormatError::field(file, number, "time_us", message));
            }
            now = line.value.time_us;
            let change = change(file, number, line.value, read_snapshot)?;
            schedule.events.push(Event {
                line: number,
                time_us: now,
                change,
            });
        }
        let mut trial: Option<Arc<Snapshot>> = None;
        for event in &schedule.events {
            let before = trial.as_deref().unwrap_or(first);
            trial = Some(schedule.apply(event, before)?);
        }
        Ok(schedule)
    }

    /// The events as lines of a file again. Each snapshot is handed to `write_snapshot`, with the
    /// event's number from 1, which returns the name to put into the line.
    ///
    /// # Errors
    /// Those of `write_snapshot`.
    pub fn lines<E>(
        &self,
        write_snapshot: &mut dyn FnMut(usize, &Snapshot) -> Result<PathBuf, E>,
    ) -> Result<Vec<EventLine>, E> {
        let mut lines = Vec::with_capacity(self.events.len());
        for (index, event) in self.events.iter().enumerate() {
            let mut line = EventLine {
                time_us: event.time_us,
                endpoint: None,
                remove_endpoint: None,
                snapshot: None,
            };
            match &event.change {
                Change::Health(name, health) => {
                    line.endpoint = Some(EndpointHealth {
                        cluster: name.cluster.clone(),
                        address: name.address.clone(),
                        health_status: health.as_str_name().to_owned(),
                    });
                }
                Change::Remove(name) => line.remove_endpoint = Some(name.clone()),
                Change::Replace(snapshot) => {
                    line.snapshot = Some(write_snapshot(index + 1, snapshot)?);
                }
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The time of the event at `index`; `None` after the last.
    pub fn time(&self, index: usize) -> Option<u64> {
        self.events.get(index).map(|event| event.time_us)
    }

    /// The snapshots that replace others, each with its time, in order.
    pub fn replacements(&self) -> impl Iterator<Item = (u64, &Snapshot)> {
        self.events.iter().filter_map(|event| match &event.change {
            Change::Replace(snapshot) => Some((event.time_us, snapshot.as_ref())),
            Change::Health(..) | Change::Remove(_) => None,
        })
    }

    /// The snapshot after the event at `index`; events at one time are applied one by one.
    ///
    /// # Errors
    /// The event does not fit the snapshot, which is then not the one that [`Schedule::read`] was
    /// given.
    pub fn apply_at(
        &self,
        index: usize,
        before: &Arc<Snapshot>,
    ) -> Result<Arc<Snapshot>, FormatError> {
        match self.events.get(index) {
            Some(event) => self.apply(event, before),
            None => Ok(Arc::clone(before)),
        }
    }

    fn apply(&self, event: &Event, before: &Snapshot) -> Result<Arc<Snapshot>, FormatError> {
        let (name, health) = match &event.change {
            Change::Replace(snapshot) => return Ok(Arc::clone(snapshot)),
            Change::Health(name, health) => (name, Some(*health)),
            Change::Remove(name) => (name, None),
        };
        let member = if health.is_some() {
            "endpoint"
        } else {
            "remove_endpoint"
        };
        let error = |field: &str, message: String| {
            FormatError::field(
                &self.file,
                event.line,
                &format!("{member}.{field}"),
                message,
            )
        };
        let mut snapshot = before.clone();
        let profile = snapshot.profile;
        let cluster = snapshot
            .clusters
            .iter_mut()
            .find(|cluster| cluster.name == name.cluster)
            .ok_or_else(|| {
                let message = format!(
                    "the snapshot of that time has no cluster `{}`",
                    name.cluster
                );
                error("cluster", message)
            })?;
        let mut found = false;
        if let Some(assignment) = &mut cluster.load_assignment {
            for locality in &mut assignment.endpoints {
                locality.lb_endpoints.retain_mut(|candidate| {
                    if endpoint::address(candidate).as_deref() != Some(&name.address) {
                        return true;
                    }
                    found = true;
                    if let Some(health) = health {
                        candidate.health_status = profile.health(health) as i32;
                    }
                    health.is_some()
                });
            }
        }
        if found {
            Ok(Arc::new(snapshot))
        } else {
            let message = format!(
                "cluster `{}` has no endpoint `{}` at that time",
                name.cluster, name.address
            );
            Err(error("address", message))
        }
    }
}

/// Writes events, one a line.
///
/// # Errors
/// The writer's.
pub fn write(events: &[EventLine], mut writer: impl std::io::Write) -> std::io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut writer, event)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}

fn change(
    file: &Path,
    line: usize,
    event: EventLine,
    read_snapshot: &mut SnapshotReader<'_>,
) -> Result<Change, FormatError> {
    match (event.endpoint, event.remove_endpoint, event.snapshot) {
        (Some(endpoint), None, None) => {
            let health = HealthStatus::from_str_name(&endpoint.health_status).ok_or_else(|| {
                let message = format!(
                    "expected UNKNOWN, HEALTHY, UNHEALTHY, DRAINING, TIMEOUT or DEGRADED, found `{}`",
                    endpoint.health_status
                );
                FormatError::field(file, line, "endpoint.health_status", message)
            })?;
            let EndpointHealth {
                cluster, address, ..
            } = endpoint;
            Ok(Change::Health(EndpointName { cluster, address }, health))
        }
        (None, Some(name), None) => Ok(Change::Remove(name)),
        (None, None, Some(path)) => {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            read_snapshot(&path)
                .map(|snapshot| Change::Replace(Arc::new(snapshot)))
                .map_err(|message| FormatError::field(file, line, "snapshot", message))
        }
        _ => Err(FormatError {
            field: None,
            ..FormatError::field(
                file,
                line,
                "",
                "expected exactly one of `endpoint`, `remove_endpoint` and `snapshot` beside `time_us`",
            )
        }),
    }
}
