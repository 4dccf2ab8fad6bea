//! What lies in the kernel's maps, compared with what the agent takes to lie there.
//!
//! Requests go on meanwhile, so no two things are seen at one moment. What differs is looked at
//! again and again: only what differs every time in the same way is a difference.

mod connections;
mod endpoints;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use serde_json::{Map, Value, json};
use twinmesh_kernel_backend::datapath::maps::socket_address;
use twinmesh_kernel_backend::datapath::shape::{Config, flag};

use super::Splice;
use crate::live::{Current, Live};

/// How often is looked, at most, and how long after the time before: together longer than a thread
/// that stopped between two steps takes to go on.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// What differs: in words, by what is the same each time.
#[derive(Debug, Default)]
struct Differences(BTreeMap<String, String>);

impl Differences {
    fn add(&mut self, what: impl Into<String>, words: impl Into<String>) {
        self.0.insert(what.into(), words.into());
    }
}

/// Looks until what differs is known to. Blocks.
pub fn look(splice: &Splice, live: &Live) -> Value {
    let (mut seen, Differences(mut standing)) = once(splice, live);
    for _ in 1..LOOKS {
        if standing.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        let (again, Differences(mut found)) = once(splice, live);
        seen = again;
        found.retain(|what, _| standing.contains_key(what));
        standing = found;
    }
    let differences: Vec<String> = standing.into_values().collect();
    seen.insert("differences".to_owned(), json!(differences));
    Value::Object(seen)
}

fn once(splice: &Splice, live: &Live) -> (Map<String, Value>, Differences) {
    let maps = splice.datapath.maps();
    let mut differences = Differences::default();
    let mut seen = Map::new();
    let policy = live.current();
    let decides = policy
        .as_deref()
        .and_then(|policy| decides(splice, policy, &mut seen, &mut differences));
    let parts = [
        ("config", config(splice, &mut differences)),
        ("programs", programs(splice, &mut differences)),
        (
            "endpoints",
            endpoints::look(splice, live, decides, &mut differences),
        ),
        ("clients", connections::clients(splice, &mut differences)),
        (
            "upstreams",
            connections::upstreams(splice, &mut differences),
        ),
        ("pools", connections::pools(splice, &mut differences)),
        ("counts", json!({ "used": maps.counts().len() })),
        ("lost_events", json!(maps.lost())),
    ];
    for (name, part) in parts {
        seen.insert(name.to_owned(), part);
    }
    (seen, differences)
}

/// Compares generation and policy; the policy, where the kernel decides by it.
fn decides<'a>(
    splice: &Splice,
    policy: &'a Current,
    seen: &mut Map<String, Value>,
    differences: &mut Differences,
) -> Option<&'a Current> {
    let maps = splice.datapath.maps();
    let (kernel, slots) = maps.generations();
    let words = &policy.compiled.policy;
    seen.insert(
        "generation".to_owned(),
        json!({ "kernel": kernel, "agent": policy.generation, "slots": slots }),
    );
    let bytes = words.len() * 8;
    let room = maps.sizes.policy.policy_bytes;
    let sets = policy.compiled.state.get(maps.active().len()..);
    let fits = maps.fits(words, sets.unwrap_or_default());
    let there = maps.policy(policy.generation);
    let other = words
        .iter()
        .zip(there)
        .enumerate()
        .filter(|(_, (word, there))| **word != there.load(SeqCst));
    let mut other = other.map(|(index, _)| index * 8);
    let first = other.next();
    let differing = first.map_or(0, |_| 1 + other.count());
    seen.insert(
        "policy".to_owned(),
        json!({ "bytes": bytes, "capacity": room, "differing_words": differing, "fits": fits.is_ok() }),
    );
    if fits.is_err() {
        if kernel != 0 {
            let words =
                format!("the policy does not fit, and the kernel decides by generation {kernel}");
            differences.add("generation", words);
        }
        return None;
    }
    if kernel != policy.generation || !slots.contains(&kernel) {
        let words = format!(
            "the agent decides by generation {}, the kernel by {kernel} of {slots:?}",
            policy.generation
        );
        differences.add("generation", words);
        return None;
    }
    if let Some(first) = first {
        let words = format!(
            "{differing} of {} words of the policy are others in the kernel, from byte {first} on",
            words.len()
        );
        differences.add("policy", words);
    }
    Some(policy)
}

/// Compares what the programs are told.
fn config(splice: &Splice, differences: &mut Differences) -> Value {
    let maps = splice.datapath.maps();
    let (there, told) = (described(&maps.config()), described(&maps.told()));
    if there != told {
        differences.add(
            "config",
            format!("expected the configuration {told}, found {there}"),
        );
    }
    there
}

fn described(config: &Config) -> Value {
    let names = [
        (flag::SPLICE, "splice"),
        (flag::CONNECT_TIME, "connect_time"),
        (flag::REDIRECT, "redirect"),
        (flag::EVENTS, "events"),
        (flag::ORDER, "order"),
    ];
    let known = names.iter().fold(0, |known, (bit, _)| known | bit);
    let mut flags: Vec<String> = names
        .iter()
        .filter(|(bit, _)| config.flags & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if config.flags & !known != 0 {
        flags.push(format!("{:#x}", config.flags & !known));
    }
    let agent = [config.agent_v4, config.agent_v6].map(|at| socket_address(at).to_string());
    json!({
        "flags": flags,
        "netns_cookie": config.netns_cookie,
        "agent": agent,
        "event_share": config.event_share,
        "queue_limit": config.queue_limit,
    })
}

/// The programs, and whether those are attached that should be.
fn programs(splice: &Splice, differences: &mut Differences) -> Value {
    let programs = match splice.datapath.in_kernel() {
        Ok(programs) => programs,
        Err(why) => {
            differences.add("programs", why.to_string());
            return Value::Null;
        }
    };
    let attached = splice.datapath.maps().told().flags & flag::REDIRECT != 0;
    let list = programs.iter().map(|program| {
        if attached && program.links == Some(0) {
            let words = format!("the program `{}` is attached to no cgroup", program.name);
            differences.add(format!("program {}", program.name), words);
        }
        json!({ "name": program.name, "id": program.id, "links": program.links })
    });
    list.collect()
}
