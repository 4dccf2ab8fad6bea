//! Making the input of a divergence smaller, and keeping it as a case.

use std::path::{Path, PathBuf};

use proptest::strategy::ValueTree;
use twinmesh_generate::{read_as, traffic};
use twinmesh_xds::Profile;

use super::bench::{Bench, Input};
use super::divergence::Divergence;
use crate::case::{self, Settings};
use crate::failure::Failure;
use crate::interrupt;

/// Candidates that are looked at.
const LOOKS: usize = 400;

/// The smallest input found that shows the divergence, and the divergence as it shows it.
pub fn shrink(
    bench: &mut Bench,
    tree: &mut impl ValueTree<Value = Input>,
    first: &Divergence,
) -> (Input, Divergence) {
    // With its traces: by them it is told from others.
    let traced = bench.shows(&tree.current(), first);
    let mut best = (tree.current(), traced.unwrap_or_else(|| first.clone()));
    let mut on = tree.simplify();
    for _ in 0..LOOKS {
        if !on || interrupt::requested() {
            break;
        }
        let input = tree.current();
        on = match bench.shows(&input, &best.1) {
            Some(divergence) => {
                best = (input, divergence);
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    fewer(bench, best)
}

/// Leaves out the requests without which the divergence still shows, many at once first: the
/// snapshot may have had all the looks.
fn fewer(bench: &mut Bench, mut best: (Input, Divergence)) -> (Input, Divergence) {
    let mut size = best.0.1.len().div_ceil(2);
    while size > 0 && !interrupt::requested() {
        let mut end = best.0.1.len();
        while end > 0 && !interrupt::requested() {
            let start = end.saturating_sub(size);
            let mut input = best.0.clone();
            input.1.drain(start..end);
            if let Some(divergence) = bench.shows(&input, &best.1) {
                best = (input, divergence);
            }
            end = start;
        }
        size /= 2;
    }
    best
}

/// Writes a case folder that `twinmesh conform --trace` replays; where.
///
/// # Errors
/// It cannot be written.
pub fn write(
    parent: &Path,
    input: &Input,
    divergence: &Divergence,
    origin: &str,
    profile: Profile,
) -> Result<PathBuf, Failure> {
    let snapshot = read_as(&input.0, profile)
        .map_err(|error| Failure(format!("a generated snapshot is not read again: {error}")))?;
    let folder = case::free_folder(parent, divergence.engine)?;
    let requests = traffic::requests(&input.0, &input.1);
    let content = case::Content {
        snapshot: &snapshot,
        requests: &requests,
        recorded: None,
        schedule: None,
        endpoints: None,
    };
    let settings = Settings {
        profile: case::named(profile),
        requests: Some(requests.len()),
        notes: vec![divergence.kind.clone(), origin.to_owned()],
        ..Settings::default()
    };
    case::write(&folder, &content, &settings)?;
    Ok(folder)
}
