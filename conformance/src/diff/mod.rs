//! `twinmesh diff`: which requests two snapshots decide differently, and which change is why.

mod attempts;
mod causes;
mod changes;
mod compare;
mod pairs;
mod probes;
mod report;
mod scripted;
mod sorting;
mod stand_in;
mod trial;
mod values;
mod ways;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use twinmesh_engine::format::traffic;
use twinmesh_engine::{FormatError, Request};
use twinmesh_xds::Snapshot;

use crate::failure::{Failure, Status};
use crate::generate::Alike;
use crate::output::{Output, Style};
use crate::profile::ProfileArgument;
use crate::{generate, input, script, start};

use changes::Changes;
use sorting::{Difference, Group, difference};

/// Tells which requests two snapshots decide differently, grouped by the changed fields that are
/// why, and which changes move no request.
///
/// Without --traffic the requests are those that `generate` makes for either snapshot, and variants of
/// them that changed fields ask about. Decisions are compared from the listener to the cluster, with
/// redirects, replies and their bodies, rewrites, headers and mirrors; of the choice of an endpoint only
/// what it is made from: the cluster's endpoints with their weights, priorities and health, its balancer,
/// and the pick by a hash. Both snapshots have the same random numbers. That a change is the cause is
/// tried: A with that change alone decides as B.
///
/// Exit codes: 0 nothing is decided differently, 1 something is, 2 the input or the call is wrong,
/// 3 nothing that was compared is decided differently, and not everything could be compared.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot before, in any of the forms.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The snapshot after.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Requests to decide; may be repeated.
    #[arg(long, value_name = "FILE")]
    traffic: Vec<PathBuf>,
    /// What endpoints do with the requests that reach them. What becomes of them is compared then,
    /// too: attempts, response flags, and how long it takes.
    #[arg(long, value_name = "FILE", requires = "traffic")]
    endpoints: Option<PathBuf>,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Exit with 0 instead of 3 where not everything could be compared.
    #[arg(long)]
    allow_undecided: bool,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, or standard output does not take the report.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    let (first, second) = snapshots(arguments)?;
    let mut changes = Changes::between(&first, &second);
    changes.may_be_more = !are_alike(&arguments.first, &arguments.second);
    let is_generated = arguments.traffic.is_empty();
    let requests = if is_generated {
        generated(&first, &second, &changes)?
    } else {
        captured(arguments, &first, &second)?
    };
    let script = arguments.endpoints.as_deref();
    let script = script.map(|file| script::read(file, &[&first, &second]));
    let script = script.transpose()?;
    let difference = difference(
        (&first, &second),
        changes,
        requests,
        is_generated,
        script.as_ref(),
        arguments.seed,
    )?;
    let mut output = Output::stdout();
    if arguments.json {
        output.data(report::json(&difference, arguments)?)?;
    } else {
        for line in report::lines(&difference, style) {
            output.line(line)?;
        }
    }
    output.finish()?;
    Ok(if !difference.groups.is_empty() {
        Status::Divergence
    } else if difference.is_whole() || arguments.allow_undecided {
        Status::Agreement
    } else {
        Status::Partial
    })
}

/// Reads both snapshots, side by side but where one is standard input.
fn snapshots(arguments: &Arguments) -> Result<(Arc<Snapshot>, Arc<Snapshot>), Failure> {
    let read = |file: &Path| {
        let profile = arguments.profile.profile();
        input::snapshot(file, arguments.strict, profile).map(Arc::new)
    };
    let files = [arguments.first.as_path(), arguments.second.as_path()];
    if files.contains(&Path::new("-")) {
        return Ok((read(files[0])?, read(files[1])?));
    }
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| read(files[1]));
        (read(files[0]), second.join())
    });
    let first = first?;
    let panicked = |_| Failure("a thread that reads a snapshot panicked".to_owned());
    Ok((first, second.map_err(panicked)??))
}

/// Whether two files have the same text. What is no file (standard input, a pipe) has been read, and has none a
/// second time.
fn are_alike(first: &Path, second: &Path) -> bool {
    let read = |file: &Path| match file.is_file() {
        true => std::fs::read(file).ok(),
        false => None,
    };
    first == second || read(first).is_some_and(|text| Some(text) == read(second))
}

/// The requests of the files: each must start somewhere in one of the snapshots. The times of a file count
/// from the last of the file before.
fn captured(
    arguments: &Arguments,
    first: &Snapshot,
    second: &Snapshot,
) -> Result<Vec<Request>, Failure> {
    let mut all = Vec::new();
    for file in &arguments.traffic {
        let mut requests = traffic::read(file)?;
        if requests.is_empty() {
            let message = "holds no request: nothing would be compared";
            return Err(FormatError::file(file, message).into());
        }
        if let Err(unclear) = start::check(file, &requests, first, None)
            && start::check(file, &requests, second, None).is_err()
        {
            return Err(unclear.into());
        }
        let last = all.iter().filter_map(|it: &Request| it.time_us).max();
        for request in &mut requests {
            request.time_us = request
                .time_us
                .map(|time| time.saturating_add(last.unwrap_or(0)));
        }
        all.extend(requests);
    }
    Ok(all)
}

/// The requests that reach everything in either snapshot.
fn generated(
    first: &Arc<Snapshot>,
    second: &Arc<Snapshot>,
    changes: &Changes,
) -> Result<Vec<Request>, Failure> {
    // Where a virtual host is the same, its requests are.
    let hosts = changes.changed_hosts();
    let (first_made, second_made) = std::thread::scope(|scope| {
        let second = scope.spawn(|| generate::requests(second, hosts.as_ref()));
        let first = generate::requests(first, None);
        (first, second.join())
    });
    let panicked = |_| Failure("a thread that generates requests panicked".to_owned());
    let second_made = second_made.map_err(panicked)??;
    let mut all = first_made?;
    let known: HashSet<Alike<'_>> = all.iter().map(Alike::of).collect();
    let ids: HashSet<&str> = all.iter().map(|request| request.id.as_str()).collect();
    let mut more = second_made;
    more.retain(|request| !known.contains(&Alike::of(request)));
    for request in &mut more {
        if ids.contains(request.id.as_str()) {
            request.id.push_str(", in the second");
        }
    }
    drop((known, ids));
    // Each comes after those before it.
    if let Some(last) = all.last().and_then(|request| request.time_us) {
        for (index, request) in (0..).zip(&mut more) {
            let time = request.time_us.unwrap_or(index * generate::DAY_US);
            request.time_us = Some(last + generate::DAY_US + time);
        }
    }
    all.extend(more);
    let only = |snapshot: &Snapshot| {
        snapshot.listeners.is_empty() && snapshot.route_configurations.len() == 1
    };
    if only(first) && only(second) {
        // Each has but one, which may be called otherwise.
        all.iter_mut()
            .for_each(|request| request.route_config = None);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::are_alike;

    #[test]
    fn what_is_no_file_is_like_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [one, other, more] = ["one", "other", "more"].map(|name| folder.path().join(name));
        for (file, text) in [(&one, ""), (&other, ""), (&more, "a")] {
            std::fs::write(file, text).expect("a file");
        }
        assert!(are_alike(&one, &other));
        assert!(!are_alike(&one, &more));
        // Once it is read, a pipe is as empty as this.
        assert!(!are_alike(&one, Path::new("/dev/null")));
    }
}
