//! Numbers that endpoints keep from one snapshot to the next, so that whoever counts their active
//! requests can go on counting while a snapshot takes another's place.

use std::collections::{HashMap, HashSet, VecDeque};

use twinmesh_engine::update::{Identity, keeps_state};
use twinmesh_xds::Cluster;

/// Snapshots after which a number that none of them uses may be given to another endpoint.
const REST: u64 = 3;

/// An endpoint: its cluster and which life of that, what it is known by, and how many alike come
/// before it.
type Key = (String, u64, Option<Identity>, u32);

/// The numbers that are given out.
#[derive(Debug, Clone)]
pub struct Numbers {
    capacity: u64,
    next: u64,
    snapshot: u64,
    known: HashMap<Key, u64>,
    used: HashSet<u64>,
    alike: HashMap<Key, u32>,
    lives: HashMap<String, (u64, Cluster)>,
    resting: VecDeque<(u64, u64)>,
}

impl Numbers {
    /// Numbers below `capacity`.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            next: 0,
            snapshot: 0,
            known: HashMap::new(),
            used: HashSet::new(),
            alike: HashMap::new(),
            lives: HashMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// How many there are.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The next snapshot begins.
    pub(crate) fn begin(&mut self) {
        self.snapshot += 1;
        self.used.clear();
        self.alike.clear();
    }

    /// The number of an endpoint. `None`: there are no more.
    pub(crate) fn of(&mut self, cluster: &Cluster, identity: Option<Identity>) -> Option<u64> {
        let life = match self.lives.get(&cluster.name) {
            Some((life, before)) if keeps_state(before, cluster) => *life,
            other => {
                let life = other.map_or(0, |(life, _)| life + 1);
                let config = Cluster {
                    name: cluster.name.clone(),
                    config: cluster.config.clone(),
                    ..Cluster::default()
                };
                self.lives.insert(cluster.name.clone(), (life, config));
                life
            }
        };
        let mut key = (cluster.name.clone(), life, identity, 0);
        let alike = self.alike.entry(key.clone()).or_default();
        key.3 = *alike;
        *alike += 1;
        if let Some(&number) = self.known.get(&key) {
            self.used.insert(number);
            return Some(number);
        }
        let number = self.unused()?;
        self.known.insert(key, number);
        self.used.insert(number);
        Some(number)
    }

    fn unused(&mut self) -> Option<u64> {
        if self.next < self.capacity {
            self.next += 1;
            return Some(self.next - 1);
        }
        let &(number, since) = self.resting.front()?;
        if self.snapshot < since + REST {
            return None;
        }
        self.resting.pop_front();
        Some(number)
    }

    /// The snapshot has all its numbers: those that it does not use rest before they are given out
    /// again.
    pub(crate) fn end(&mut self) {
        let (used, resting, now) = (&self.used, &mut self.resting, self.snapshot);
        self.known.retain(|_, &mut number| {
            let keep = used.contains(&number);
            if !keep {
                resting.push_back((number, now));
            }
            keep
        });
    }
}
