//! Endpoints: where they are, and how many requests are active.

use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use twinmesh_kernel_backend::datapath::maps::{address, socket_address};
use twinmesh_kernel_backend::datapath::shape::{Client, Decision, Endpoint, flag};

use super::{Differences, Splice};
use crate::live::{Current, Live};

/// Compares them. `decides`: the policy, where the kernel decides by it.
pub fn look(
    splice: &Splice,
    live: &Live,
    decides: Option<&Current>,
    differences: &mut Differences,
) -> Value {
    let maps = splice.datapath.maps();
    let mut listed = Vec::new();
    if let Some(policy) = decides {
        let pools = splice.slots.pools();
        for (number, place) in policy.compiled.places() {
            let there = maps.endpoint(number as u64);
            let at = splice.address_of(&policy.compiled, place);
            let expected = at.map_or_else(Endpoint::default, |at| Endpoint {
                address: address(at),
                family: if at.is_ipv4() { 2 } else { 10 },
                pool: pools.get(&at).map_or(0, |pool| pool + 1),
            });
            if (there.address, there.family, there.pool)
                != (expected.address, expected.family, expected.pool)
            {
                let words = format!(
                    "endpoint {number}: expected {}, found {}",
                    described(&expected),
                    described(&there)
                );
                differences.add(format!("endpoint {number}"), words);
            }
            let cluster = policy.snapshot().clusters.get(place.0);
            listed.push(json!({
                "number": number,
                "cluster": cluster.map(|cluster| &cluster.name),
                "address": text(&there).map(|at| at.to_string()),
                "pool": there.pool.checked_sub(1),
            }));
        }
    }
    let active = active(splice, live, differences);
    json!({ "capacity": maps.sizes.endpoints, "listed": listed, "active": active })
}

fn text(endpoint: &Endpoint) -> Option<SocketAddr> {
    (endpoint.family != 0).then(|| socket_address(endpoint.address))
}

fn described(endpoint: &Endpoint) -> String {
    let at = text(endpoint).map_or_else(|| "no address".to_owned(), |at| at.to_string());
    match endpoint.pool.checked_sub(1) {
        Some(pool) => format!("{at} in pool {pool}"),
        None => format!("{at} in no pool"),
    }
}

/// Compares the active requests of each endpoint with those that hold it: in the kernel, by the
/// clients' records, and in the proxy. Connections whose endpoint was chosen at connect(2) are
/// counted in their sockets, where nobody can look; while there may be any, more may be active
/// than is known of.
fn active(splice: &Splice, live: &Live, differences: &mut Differences) -> Value {
    let maps = splice.datapath.maps();
    let words = maps.active();
    let before: Vec<u64> = words.iter().map(|word| word.load(SeqCst)).collect();
    let mut records = vec![0_u64; words.len()];
    let field = offset_of!(Client, decision) + offset_of!(Decision, active);
    for index in 0..u64::from(maps.sizes.clients) {
        let number = maps.client(index).get(field).checked_sub(1);
        if let Some(count) = number.and_then(|number| records.get_mut(number as usize)) {
            *count += 1;
        }
    }
    let unseen = maps.told().flags & flag::CONNECT_TIME != 0;
    let mut listed = Vec::new();
    for (number, ((before, after), spliced)) in
        (0..).zip(before.into_iter().zip(words).zip(records))
    {
        let after = after.load(SeqCst);
        let proxied = live.held(number);
        if (before, after, spliced, proxied) == (0, 0, 0, 0) {
            continue;
        }
        listed.push(json!({
            "endpoint": number, "active": after as i64, "spliced": spliced, "proxied": proxied,
        }));
        // What came or went while this looked is between the two.
        let known = (spliced + proxied) as i64;
        let (before, after) = (before as i64, after as i64);
        let (least, most) = (before.min(after), before.max(after));
        if known >= least && known <= most || known < least && unseen {
            continue;
        }
        let more = if known < least { "more" } else { "less" };
        let words = format!(
            "endpoint {number}: {after} requests are active, {spliced} of the kernel's clients and {proxied} of the proxy's are known"
        );
        differences.add(format!("active {number} {more}"), words);
    }
    json!(listed)
}
