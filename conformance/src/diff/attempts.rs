//! What the first snapshot decides with some of the changes made.

use std::collections::BTreeSet;
use std::sync::Arc;

use twinmesh_engine::Request;
use twinmesh_engine::format::endpoints::Script;
use twinmesh_xds::Snapshot;

use super::changes::Changes;
use super::compare::{Comparison, Same};
use super::scripted;
use super::sorting::{Side, random_of};
use super::stand_in::StandIns;
use super::trial::Trials;
use super::ways::Decided;
use crate::failure::Failure;
use crate::interrupt;
use crate::judge::interrupted;

/// How many bytes of snapshots and requests all trials together may have.
const BYTES: usize = 96 << 20;
/// How many trials there are at least, whatever their size.
const TRIALS: usize = 8;
/// About what a request weighs against a byte of a snapshot.
const REQUEST: usize = 64;

/// Decides requests by snapshots between the two, up to a cost.
pub(super) struct Attempts<'a> {
    first: &'a Arc<Snapshot>,
    second: &'a Arc<Snapshot>,
    changes: &'a Changes,
    requests: &'a [Request],
    /// Those that moved: their indices, and what the second makes of them.
    moved: Vec<(usize, &'a Decided)>,
    script: Option<&'a Script>,
    seed: u64,
    trials: Option<Trials<'a>>,
    times: usize,
    bytes: usize,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        (first, second): (&'a Arc<Snapshot>, &'a Arc<Snapshot>),
        changes: &'a Changes,
        (requests, moved): (&'a [Request], Vec<(usize, &'a Decided)>),
        script: Option<&'a Script>,
        seed: u64,
    ) -> Self {
        Self {
            first,
            second,
            changes,
            requests,
            moved,
            script,
            seed,
            trials: None,
            times: 0,
            bytes: 0,
        }
    }

    /// Whether the first snapshot with the changes decides each of these requests that moved as the
    /// second does; `None`: it was tried often enough.
    ///
    /// # Errors
    /// The engine failed, or the run was interrupted.
    pub(super) fn attempt(
        &mut self,
        chosen: &BTreeSet<usize>,
        wanted: &[usize],
    ) -> Result<Option<Vec<bool>>, Failure> {
        if interrupt::requested() {
            return Err(interrupted());
        }
        let (first, second, changes) = (self.first, self.second, self.changes);
        let trials = self
            .trials
            .get_or_insert_with(|| Trials::new(first, second, changes));
        let cost = trials.size + self.requests.len() * REQUEST;
        self.times += 1;
        self.bytes = self.bytes.saturating_add(cost);
        if self.times > TRIALS && self.bytes > BYTES {
            return Ok(None);
        }
        let refused = vec![false; wanted.len()];
        let Some((snapshot, origins)) = trials.snapshot(chosen) else {
            return Ok(Some(refused));
        };
        let snapshot = Arc::new(snapshot);
        let comparison = Comparison {
            first: &snapshot,
            second,
            same: Same::Trial(&origins),
        };
        let moved = wanted.iter().filter_map(|index| self.moved.get(*index));
        let is_alike = |decided: Option<&Decided>, expected: &Decided| {
            decided.is_some_and(|it| comparison.found(it, expected).is_empty())
        };
        if let Some(script) = self.script {
            let all = scripted::decide(&snapshot, self.requests, script, self.seed)?;
            let alike = moved.map(|(at, expected)| {
                let decided = all.get(*at).and_then(Option::as_ref);
                is_alike(decided, expected)
            });
            return Ok(Some(alike.collect()));
        }
        let stand_ins = StandIns::of(&snapshot);
        let Ok(mut side) = Side::new(&stand_ins) else {
            return Ok(Some(refused));
        };
        // Filters remember requests: those before are decided, too.
        let mut next = 0;
        let mut alike = Vec::with_capacity(wanted.len());
        for (at, expected) in moved {
            let mut decided = None;
            for (index, request) in self.requests.iter().enumerate().take(*at + 1).skip(next) {
                decided = side.decide(request, random_of(self.seed, index, request));
            }
            next = *at + 1;
            alike.push(is_alike(decided.as_ref(), expected));
        }
        Ok(Some(alike))
    }
}
