//! What a snapshot makes of requests whose endpoints follow a script.

use std::ops::ControlFlow;
use std::sync::Arc;

use twinmesh_engine::format::endpoints::Script;
use twinmesh_engine::{Replay, Request, random};
use twinmesh_sim::Sim;
use twinmesh_xds::Snapshot;

use super::ways::Decided;
use crate::failure::Failure;
use crate::judge::interrupted;
use crate::{interrupt, start};

/// One for each request, in order; `None`: the snapshot does not have what it starts at.
///
/// # Errors
/// The engine failed, or the run was interrupted.
pub(super) fn decide(
    snapshot: &Arc<Snapshot>,
    requests: &[Request],
    script: &Script,
    seed: u64,
) -> Result<Vec<Option<Decided>>, Failure> {
    let starts = start::each(requests, snapshot);
    // A request keeps its number, whichever of the others start here.
    let numbered = requests.iter().enumerate().map(|(index, request)| Request {
        random: request
            .random
            .or_else(|| Some(random::draw(seed, index as u64))),
        ..request.clone()
    });
    let started = numbered.zip(&starts).filter(|(_, starts)| **starts);
    let started: Vec<Request> = started.map(|(request, _)| request).collect();
    let replay = Replay {
        seed,
        trace: true,
        schedule: None,
        endpoints: Some(script),
    };
    let mut answers = Vec::with_capacity(started.len());
    replay.run(&mut Sim::default(), snapshot, &started, &mut |decided| {
        if interrupt::requested() {
            return ControlFlow::Break(());
        }
        answers.push(Decided::of(decided.answer, |_| false));
        ControlFlow::Continue(())
    })?;
    if answers.len() < started.len() {
        return Err(interrupted());
    }
    let mut answers = answers.into_iter();
    let each = starts.into_iter();
    Ok(each
        .map(|starts| starts.then(|| answers.next()).flatten())
        .collect())
}
