//! Whether every request says where its decision starts, before the first is decided.

use std::collections::HashSet;
use std::path::Path;

use twinmesh_engine::format::events::Schedule;
use twinmesh_engine::{FormatError, Request};
use twinmesh_xds::Snapshot;

/// A request names what is not there, or leaves open what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// The field of the request.
    pub field: Field,
    /// What was found and what was expected.
    pub message: String,
}

/// The field of a request that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `listener`.
    Listener,
    /// `route_config`.
    RouteConfiguration,
}

impl Field {
    /// As it is called in a traffic file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::RouteConfiguration => "route_config",
        }
    }

    /// As `explain` takes it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Listener => "--listener",
            Self::RouteConfiguration => "--route-config",
        }
    }
}

/// Checks the requests of a traffic file, each against the snapshot of its time. A listener may
/// come or go with an event: its name must be in one of the snapshots.
///
/// # Errors
/// The first request that does not say where its decision starts.
pub fn check(
    file: &Path,
    requests: &[Request],
    first: &Snapshot,
    schedule: Option<&Schedule>,
) -> Result<(), FormatError> {
    let mut ever = Names::of(first).listeners;
    let mut later = Vec::new();
    for (time, snapshot) in schedule.into_iter().flat_map(Schedule::replacements) {
        ever.extend(Names::of(snapshot).listeners);
        later.push((time, snapshot));
    }
    let mut later = later.into_iter().peekable();
    let mut current = first;
    let mut names = Names::of(first);
    let mut now = 0;
    for (index, request) in requests.iter().enumerate() {
        now = request.time_us.unwrap_or(now).max(now);
        while let Some((_, snapshot)) = later.next_if(|(time, _)| *time <= now) {
            current = snapshot;
            names = Names::of(current);
        }
        let checked = names.check(current, &ever, request, Asked::File);
        checked.map_err(|unclear| {
            FormatError::field(file, index + 1, unclear.field.name(), unclear.message)
        })?;
    }
    Ok(())
}

/// Checks one request, which flags give.
///
/// # Errors
/// It does not say where its decision starts.
pub fn check_one(request: &Request, snapshot: &Snapshot) -> Result<(), Unclear> {
    let names = Names::of(snapshot);
    names.check(snapshot, &names.listeners, request, Asked::Flags)
}

/// Whether each of the requests says where its decision starts.
pub fn each(requests: &[Request], snapshot: &Snapshot) -> Vec<bool> {
    let names = Names::of(snapshot);
    let starts = |request| {
        let checked = names.check(snapshot, &names.listeners, request, Asked::File);
        checked.is_ok()
    };
    requests.iter().map(starts).collect()
}

/// Who gives a request, whose names of its fields are used.
#[derive(Debug, Clone, Copy)]
enum Asked {
    File,
    Flags,
}

struct Names<'a> {
    listeners: HashSet<&'a str>,
    route_configurations: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        Self {
            listeners: listeners(snapshot).collect(),
            route_configurations: route_configurations(snapshot).collect(),
        }
    }

    /// `ever` holds the listeners of all snapshots of the run.
    fn check(
        &self,
        snapshot: &Snapshot,
        ever: &HashSet<&str>,
        request: &Request,
        asked: Asked,
    ) -> Result<(), Unclear> {
        let wrong_listener = |found: &str| Unclear {
            field: Field::Listener,
            message: format!("{found}, expected {}", one_of(listeners(snapshot))),
        };
        let wrong_route_configuration = |found: &str| Unclear {
            field: Field::RouteConfiguration,
            message: format!(
                "{found}, expected {}",
                one_of(route_configurations(snapshot))
            ),
        };
        match (&request.listener, &request.route_config) {
            (Some(listener), Some(name)) => Err(Unclear {
                field: Field::RouteConfiguration,
                message: format!(
                    "found `{name}` beside the listener `{listener}`, expected one of the two fields"
                ),
            }),
            (Some(name), None) if !ever.contains(name.as_str()) => {
                Err(wrong_listener(&format!("found `{name}`")))
            }
            (None, Some(name)) if !self.route_configurations.contains(name.as_str()) => {
                Err(wrong_route_configuration(&format!("found `{name}`")))
            }
            (None, None) if request.destination.is_none() => {
                if snapshot.listeners.len() > 1 {
                    Err(wrong_listener(match asked {
                        Asked::File => "found neither it nor `destination` nor `route_config`",
                        Asked::Flags => "found neither it nor --destination nor --route-config",
                    }))
                } else if snapshot.listeners.is_empty() && snapshot.route_configurations.len() > 1 {
                    Err(wrong_route_configuration("found none"))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }
}

fn listeners(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let listeners = snapshot.listeners.iter();
    listeners.map(|listener| listener.name.as_str())
}

fn route_configurations(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let configurations = snapshot.route_configurations.iter();
    configurations.map(|configuration| configuration.name.as_str())
}

/// At most the first ten names.
fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 10;
    let mut seen = HashSet::new();
    let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
    let mut shown: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > MOST {
        shown.push(format!("{} more", names.len() - MOST));
    }
    match shown.as_slice() {
        [] => "none: the snapshot holds none".to_owned(),
        [only] => only.clone(),
        _ => format!("one of {}", shown.join(", ")),
    }
}
