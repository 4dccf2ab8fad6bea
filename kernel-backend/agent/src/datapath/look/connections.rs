//! Records of connections: clients', and those to endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use serde_json::{Value, json};
use twinmesh_kernel_backend::datapath::shape::{Client, Upstream, mode, state};

use super::super::lock;
use super::{Differences, Splice};

/// Compares clients' records with the connections that the agent has.
pub fn clients(splice: &Splice, differences: &mut Differences) -> Value {
    let maps = splice.datapath.maps();
    let free = maps.count_free_clients();
    let [waiting, waiting_untracked, expected] = maps.count_waiting();
    let ours: Vec<_> = lock(&splice.clients).values().cloned().collect();
    let leaving = lock(&splice.leaving).len() as u64;
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for client in &ours {
        let record = client.record();
        let uses = record.get(offset_of!(Client, uses));
        if uses != client.uses {
            let words = format!(
                "client {}: expected use {} of its record, found {uses}",
                client.index, client.uses
            );
            differences.add(format!("client {}", client.index), words);
            continue;
        }
        let upstream = record.get(offset_of!(Client, upstream));
        let state = if record.get(offset_of!(Client, closed)) != 0 {
            "closed"
        } else if record.get(offset_of!(Client, mode)) != mode::SPLICE {
            "agent"
        } else if upstream != 0 {
            "busy"
        } else {
            "idle"
        };
        *states.entry(state).or_default() += 1;
        if let Some(slot) = upstream.checked_sub(1)
            && !splice.holds(slot, client)
        {
            let words = format!(
                "client {} waits for upstream {slot}, which does not have its request",
                client.index
            );
            differences.add(format!("client {} waits", client.index), words);
        }
    }
    let used = u64::from(maps.sizes.clients).saturating_sub(free);
    let known = ours.len() as u64 + leaving + waiting;
    if used != known {
        let more = if used > known { "more" } else { "less" };
        let words = format!(
            "{used} records of clients are in use, {known} are known: {} connections, {leaving} that have left, {waiting} not accepted",
            ours.len()
        );
        differences.add(format!("clients {more}"), words);
    }
    json!({
        "capacity": maps.sizes.clients, "used": used, "states": states, "leaving": leaving,
        "not_accepted": waiting, "not_accepted_untracked": waiting_untracked, "expected": expected,
    })
}

/// Compares the records of connections to endpoints with those that the agent gave to the kernel.
pub fn upstreams(splice: &Splice, differences: &mut Differences) -> Value {
    let maps = splice.datapath.maps();
    let kept: BTreeSet<u64> = splice.kept().keys().copied().collect();
    let free: BTreeSet<u64> = splice.slots.free().into_iter().collect();
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for index in (0..u64::from(maps.sizes.upstreams)).filter(|index| !free.contains(index)) {
        let record = maps.upstream(index);
        let state = record.get(offset_of!(Upstream, state));
        *states.entry(name(state)).or_default() += 1;
        let with_kernel = matches!(state, state::IDLE | state::BUSY | state::RELAY);
        if with_kernel && !kept.contains(&index) {
            let words = format!(
                "upstream {index} is {} in the kernel, and the agent did not give it",
                name(state)
            );
            differences.add(format!("upstream {index} kept"), words);
        }
        if kept.contains(&index) && matches!(state, state::AGENT | state::GONE) {
            let words = format!(
                "upstream {index} was given to the kernel, and is {} there",
                name(state)
            );
            differences.add(format!("upstream {index} given"), words);
        }
        let client = record.get(offset_of!(Upstream, client)).checked_sub(1);
        if state != state::BUSY {
            continue;
        }
        let waits = client.is_some_and(|client| {
            maps.client(client).get(offset_of!(Client, upstream)) == index + 1
        });
        if !waits {
            let words = format!("upstream {index} is busy, and no client waits for it");
            differences.add(format!("upstream {index} busy"), words);
        }
    }
    for index in kept.intersection(&free) {
        let words = format!("upstream {index} was given to the kernel, and its record is free");
        differences.add(format!("upstream {index} free"), words);
    }
    let used = u64::from(maps.sizes.upstreams).saturating_sub(free.len() as u64);
    json!({
        "capacity": maps.sizes.upstreams, "used": used, "states": states, "kept": kept.len(),
    })
}

fn name(of: u64) -> &'static str {
    match of {
        state::AGENT => "agent",
        state::IDLE => "idle",
        state::BUSY => "busy",
        state::DEAD => "dead",
        state::GONE => "gone",
        state::RELAY => "relay",
        state::CLOSE => "close",
        _ => "unknown",
    }
}

/// Compares the pools' lists with the states of the records in them.
pub fn pools(splice: &Splice, differences: &mut Differences) -> Value {
    let maps = splice.datapath.maps();
    let free: BTreeSet<u64> = splice.slots.free().into_iter().collect();
    let pools: BTreeMap<u64, _> = splice
        .slots
        .pools()
        .into_iter()
        .map(|(address, pool)| (pool, address))
        .collect();
    let mut listed = BTreeSet::new();
    let mut list = Vec::new();
    for (pool, address) in &pools {
        let idle = maps.idle(*pool);
        for index in &idle {
            let record = maps.upstream(*index);
            let of = record.get(offset_of!(Upstream, pool));
            let state = record.get(offset_of!(Upstream, state));
            let fits = of == *pool && matches!(state, state::IDLE | state::DEAD);
            if !fits || free.contains(index) || !listed.insert(*index) {
                let words = format!(
                    "pool {pool} ({address}) lists upstream {index}, which is {}{} of pool {of}, or twice in lists",
                    name(state),
                    if free.contains(index) { ", free," } else { "" }
                );
                differences.add(format!("pool {pool} lists {index}"), words);
            }
        }
        list.push(json!({
            "pool": pool, "address": address.to_string(), "idle": idle, "empty": maps.empty(*pool),
        }));
    }
    for index in 0..u64::from(maps.sizes.upstreams) {
        let state = maps.upstream(index).get(offset_of!(Upstream, state));
        if state == state::IDLE && !free.contains(&index) && !listed.contains(&index) {
            let words = format!("upstream {index} is idle, and in no pool's list");
            differences.add(format!("upstream {index} unlisted"), words);
        }
    }
    json!({ "capacity": maps.sizes.pools, "used": pools.len(), "list": list })
}
