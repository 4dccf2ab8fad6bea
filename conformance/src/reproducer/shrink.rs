//! Leaving out, part by part, whatever a divergence does not need.

use std::time::{Duration, Instant};

use twinmesh_engine::{Decision, Request};
use twinmesh_xds::Snapshot;

use super::parts::{self, Part};

/// A snapshot with its traffic and what was recorded of it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The requests.
    pub requests: Vec<Request>,
    /// One for each request, where the case has them.
    pub recorded: Option<Vec<Decision>>,
}

/// Shrinking ends after this long, with what it has.
const BUDGET: Duration = Duration::from_secs(20);

/// Shrinks a candidate for which `diverges` holds; it holds for the result too. The request of
/// the id stays.
pub fn shrink(
    mut candidate: Candidate,
    id: &str,
    kinds: &[Part],
    diverges: &mut dyn FnMut(&Candidate) -> bool,
) -> Candidate {
    let deadline = Instant::now() + BUDGET;
    let mut in_time = || Instant::now() < deadline;
    candidate = shrink_traffic(candidate, id, &mut in_time, diverges);
    // A part that was needed may no longer be, once parts of another kind have gone.
    loop {
        let mut shrunk = false;
        for kind in kinds {
            let (next, any) = shrink_snapshot(candidate, *kind, &mut in_time, diverges);
            candidate = next;
            shrunk |= any;
        }
        if !shrunk || !in_time() {
            break;
        }
    }
    if candidate.recorded.is_none() {
        candidate = shrink_headers(candidate, &mut in_time, diverges);
    }
    candidate
}

/// Leaves out headers of the requests; another server would have to be asked again about those.
fn shrink_headers(
    mut candidate: Candidate,
    in_time: &mut dyn FnMut() -> bool,
    diverges: &mut dyn FnMut(&Candidate) -> bool,
) -> Candidate {
    for request in 0..candidate.requests.len() {
        let count = |candidate: &Candidate| {
            let request = candidate.requests.get(request);
            request.map_or(0, |request| request.headers.len())
        };
        let mut header = 0;
        while header < count(&candidate) && in_time() {
            let mut next = candidate.clone();
            if let Some(request) = next.requests.get_mut(request) {
                request.headers.remove(header);
            }
            if diverges(&next) {
                candidate = next;
            } else {
                header += 1;
            }
        }
    }
    candidate
}

fn shrink_snapshot(
    mut candidate: Candidate,
    kind: Part,
    in_time: &mut dyn FnMut() -> bool,
    diverges: &mut dyn FnMut(&Candidate) -> bool,
) -> (Candidate, bool) {
    let mut shrunk = false;
    let count = parts::count(&candidate.snapshot, kind);
    let mut kept = vec![true; count];
    leave_out(count, in_time, &mut |from, to| {
        let mut next = candidate.clone();
        let mut index = 0;
        // Counted among the parts there were at first: those gone already are not asked about.
        let asked: Vec<bool> = kept
            .iter()
            .enumerate()
            .filter(|(_, kept)| **kept)
            .map(|(place, _)| !(from..to).contains(&place))
            .collect();
        if asked.iter().all(|keep| *keep) {
            return;
        }
        let any = parts::retain(&mut next.snapshot, kind, &mut || {
            index += 1;
            asked.get(index - 1).copied().unwrap_or(true)
        });
        if any && diverges(&next) {
            candidate = next;
            shrunk = true;
            for kept in kept.iter_mut().take(to).skip(from) {
                *kept = false;
            }
        }
    });
    (candidate, shrunk)
}

fn shrink_traffic(
    mut candidate: Candidate,
    id: &str,
    in_time: &mut dyn FnMut() -> bool,
    diverges: &mut dyn FnMut(&Candidate) -> bool,
) -> Candidate {
    let keep = |candidate: &Candidate, keep: &dyn Fn(usize) -> bool| Candidate {
        snapshot: candidate.snapshot.clone(),
        requests: kept(&candidate.requests, keep),
        recorded: candidate
            .recorded
            .as_ref()
            .map(|recorded| kept(recorded, keep)),
    };
    let Some(place) = candidate
        .requests
        .iter()
        .position(|request| request.id == id)
    else {
        return candidate;
    };
    for next in [
        keep(&candidate, &|index| index == place),
        keep(&candidate, &|index| index <= place),
    ] {
        if diverges(&next) {
            candidate = next;
            break;
        }
    }
    let count = candidate.requests.len();
    let mut gone = vec![false; count];
    let whole = candidate.clone();
    leave_out(count, in_time, &mut |from, to| {
        let without = |index: usize| {
            !(from..to).contains(&index) && !gone.get(index).copied().unwrap_or(false)
        };
        let next = keep(&whole, &without);
        if next.requests.iter().any(|request| request.id == id) && diverges(&next) {
            candidate = next;
            for gone in gone.iter_mut().take(to).skip(from) {
                *gone = true;
            }
        }
    });
    candidate
}

fn kept<T: Clone>(items: &[T], keep: &dyn Fn(usize) -> bool) -> Vec<T> {
    let kept = items.iter().enumerate().filter(|(index, _)| keep(*index));
    kept.map(|(_, item)| item.clone()).collect()
}

/// Tries to leave out runs of `count` parts, from all of them down to each one.
fn leave_out(
    count: usize,
    in_time: &mut dyn FnMut() -> bool,
    attempt: &mut dyn FnMut(usize, usize),
) {
    let mut size = count;
    while size > 0 {
        let mut from = 0;
        while from < count {
            if !in_time() {
                return;
            }
            attempt(from, (from + size).min(count));
            from += size;
        }
        size /= 2;
    }
}
