//! Active requests: which state word counts an endpoint's, whatever the policy, and the guard that
//! takes one off exactly once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use twinmesh_compile::Compiled;
use twinmesh_engine::Held;
use twinmesh_engine::update::{Identity, identity, keeps_state, places};
use twinmesh_xds::Snapshot;

use super::Live;

/// Where the active requests of an endpoint are counted, from one policy to the next.
#[derive(Debug)]
pub(super) struct Cell {
    /// The word in the current policy's state; [`Cell::GONE`] where no policy counts it any more.
    word: AtomicU64,
    /// Set where the next policy counts two endpoints of one identity as one.
    joined: OnceLock<Arc<Cell>>,
}

impl Cell {
    const GONE: u64 = u64::MAX;

    fn new(word: u64) -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU64::new(word),
            joined: OnceLock::new(),
        })
    }

    /// The word in the current policy's state.
    pub(super) fn word(&self) -> Option<u64> {
        let mut cell = self;
        while let Some(next) = cell.joined.get() {
            cell = next;
        }
        let word = cell.word.load(Relaxed);
        (word != Self::GONE).then_some(word)
    }
}

/// One for each endpoint of a policy, by the number that [`Compiled::active_word`] gives.
#[derive(Debug, Default)]
pub(super) struct Cells {
    by_word: HashMap<u64, Arc<Cell>>,
}

/// Each endpoint of the clusters that go on between two snapshots: the word, and what it is known by.
fn known<'a>(
    compiled: &'a Compiled,
    other: &'a Snapshot,
) -> impl Iterator<Item = (u64, (&'a str, Identity))> {
    let others: HashMap<&str, _> = other
        .clusters
        .iter()
        .map(|cluster| (cluster.name.as_str(), cluster))
        .collect();
    let clusters = compiled.snapshot.clusters.iter().enumerate();
    clusters
        .filter(move |(_, cluster)| {
            let other = others.get(cluster.name.as_str());
            other.is_some_and(|other| keeps_state(cluster, other))
        })
        .flat_map(move |(index, cluster)| {
            let assignment = cluster.load_assignment.as_ref();
            places(assignment).filter_map(move |(locality, endpoint, group, config)| {
                let word = compiled.active_word(Held {
                    cluster: index,
                    locality,
                    endpoint,
                    generation: 0,
                })?;
                Some((word, (cluster.name.as_str(), identity(group, config)?)))
            })
        })
}

impl Cells {
    /// The cells of a policy that follows another, as [`twinmesh_compile::Kept`] carries the
    /// counts: by cluster and identity, to the first of several. Nothing changes until
    /// [`Carried::apply`].
    pub(super) fn carry(&self, before: &Compiled, next: &Compiled) -> Carried {
        let mut moved = Vec::new();
        let mut joined = Vec::new();
        let mut by_identity: HashMap<(&str, Identity), Arc<Cell>> = HashMap::new();
        let mut gone: HashMap<u64, Arc<Cell>> = self.by_word.clone();
        for (word, known) in known(before, &next.snapshot) {
            let Some(cell) = self.by_word.get(&word) else {
                continue;
            };
            match by_identity.get(&known) {
                Some(first) => {
                    joined.push((Arc::clone(cell), Arc::clone(first)));
                    gone.remove(&word);
                }
                None => {
                    by_identity.insert(known, Arc::clone(cell));
                }
            }
        }
        let mut by_word = HashMap::new();
        for (word, known) in known(next, &before.snapshot) {
            if let Some(cell) = by_identity.remove(&known) {
                let old = cell.word.load(Relaxed);
                gone.remove(&old);
                moved.push((Arc::clone(&cell), word));
                by_word.insert(word, cell);
            }
        }
        for word in 0..next.sizes.endpoints {
            by_word.entry(word).or_insert_with(|| Cell::new(word));
        }
        Carried {
            cells: Self { by_word },
            moved,
            joined,
            gone: gone.into_values().collect(),
        }
    }

    /// The cells of a first policy.
    pub(super) fn first(compiled: &Compiled) -> Self {
        Self {
            by_word: (0..compiled.sizes.endpoints)
                .map(|word| (word, Cell::new(word)))
                .collect(),
        }
    }

    pub(super) fn get(&self, word: u64) -> Option<&Arc<Cell>> {
        self.by_word.get(&word)
    }
}

/// What changes with a policy.
pub(super) struct Carried {
    pub(super) cells: Cells,
    moved: Vec<(Arc<Cell>, u64)>,
    joined: Vec<(Arc<Cell>, Arc<Cell>)>,
    gone: Vec<Arc<Cell>>,
}

impl Carried {
    /// From now on the cells name the words of the policy that follows. Nobody may decide or
    /// release meanwhile.
    pub(super) fn apply(self) -> Cells {
        for cell in self.gone {
            cell.word.store(Cell::GONE, Relaxed);
        }
        for (cell, word) in self.moved {
            cell.word.store(word, Relaxed);
        }
        for (cell, first) in self.joined {
            // A cell is joined once: the policy that follows knows the first only.
            let _ = cell.joined.set(first);
        }
        self.cells
    }
}

/// A request's share in its endpoint's active count: dropped, it is given back, whichever policy
/// decides by then.
#[derive(Debug)]
pub struct Hold {
    pub(super) live: Live,
    pub(super) cell: Arc<Cell>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.live.give_back(&self.cell);
    }
}
