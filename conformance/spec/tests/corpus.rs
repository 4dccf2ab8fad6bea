//! Replays the traffic of recorded cases and compares each decision with Envoy's.
//!
//! A decision may be `unsupported`; it may never be another one. The corpus lies beside the
//! workspace; further folders of cases are named by `TWINMESH_CASES` (separated by `:`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_spec::Spec;
use twinmesh_spec::reading::{is_always_taken, is_never_taken};
use twinmesh_xds::{ReadOptions, Snapshot, read};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    profile: Option<String>,
    comparison: Comparison,
}

#[derive(Deserialize)]
struct Comparison {
    exact: Vec<String>,
    #[serde(default)]
    phase: Vec<Phase>,
    #[serde(default)]
    distribution: Vec<Distribution>,
}

/// The picks of this cluster are exact up to a rotation.
#[derive(Deserialize)]
struct Phase {
    cluster: String,
    fields: Vec<String>,
    period: usize,
    ids: Option<Vec<String>>,
}

impl Phase {
    /// Whether the decision's pick is one of the sequence: other requests name their endpoint.
    fn has(&self, decision: &Decision) -> bool {
        let ids = self.ids.as_ref();
        decision.cluster.as_deref() == Some(&self.cluster)
            && ids.is_none_or(|ids| ids.contains(&decision.id))
    }
}

/// Fields that are not compared one by one, for the decisions that all given names fit.
#[derive(Deserialize)]
struct Distribution {
    fields: Vec<String>,
    cluster: Option<String>,
    route_config: Option<String>,
    virtual_host: Option<String>,
    route: Option<String>,
    ids: Option<Vec<String>>,
}

impl Distribution {
    fn frees(&self, field: &str, decision: &Decision) -> bool {
        let fits =
            |wanted: &Option<String>, actual: &Option<String>| wanted.is_none() || wanted == actual;
        self.fields.iter().any(|freed| freed == field)
            && fits(&self.cluster, &decision.cluster)
            && fits(&self.route_config, &decision.route_config)
            && fits(&self.virtual_host, &decision.virtual_host)
            && fits(&self.route, &decision.route)
            && self
                .ids
                .as_ref()
                .is_none_or(|ids| ids.contains(&decision.id))
    }
}

#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    unread: usize,
    agreed: usize,
    unsupported: usize,
    /// Why, and how often.
    reasons: BTreeMap<String, usize>,
    different: Vec<String>,
}

fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .zip(1..)
        .map(|(line, number)| {
            serde_json::from_str(line)
                .unwrap_or_else(|e| panic!("{}:{number}: {e}", path.display()))
        })
        .collect()
}

fn fields(decision: &Decision) -> Value {
    serde_json::to_value(decision).expect("a decision can be written")
}

/// A decision without a random number of its own gets one that differs from line to line.
fn random(request: &Request, line: usize) -> u64 {
    request
        .random
        .unwrap_or((line as u64).wrapping_mul(0x2545_F491_4F6C_DD1D))
}

/// Whether values are equal; headers, where both know their values.
fn fit(theirs: &Value, mine: &Value) -> bool {
    let (Value::Object(theirs), Value::Object(mine)) = (theirs, mine) else {
        return theirs == mine;
    };
    theirs.keys().eq(mine.keys())
        && theirs
            .values()
            .zip(mine.values())
            .all(|(one, other)| one.is_null() || other.is_null() || one == other)
}

/// What a recording says more or less than the engine, because the recorder read it from the access
/// log: where the codec refused a head, the route configuration is there only if the log had the
/// line; a cluster that does not exist is not there after a weighted choice; the endpoint of a
/// request that is not sent was not always written down.
fn is_recorders_doing(field: &str, recorded: &Decision, ours: &Decision) -> bool {
    let by_codec = recorded
        .reason
        .as_deref()
        .is_some_and(|reason| reason.starts_with("http1."));
    let refused = recorded.outcome == Outcome::BadRequest && by_codec;
    // Which body it is, is not decided everywhere.
    (field == "body" && ours.body.is_none())
        || (field == "route_config" && refused && ours.route_config.is_none())
        || (field == "cluster"
            && recorded.outcome == Outcome::NoCluster
            && recorded.cluster.is_none())
        || (matches!(field, "endpoint" | "priority" | "locality")
            && recorded.outcome == Outcome::Overflow
            && recorded.endpoint.is_none())
}

fn replay(folder: &Path, tally: &mut Tally) {
    tally.cases += 1;
    let text = fs::read_to_string(folder.join("case.toml")).expect("case.toml can be read");
    let case: Case = toml::from_str(&text).expect("case.toml is valid");
    let profile = case.profile.as_deref().unwrap_or("envoy-1.40");
    let options = ReadOptions {
        profile: profile.parse().expect("a profile's name"),
        ..ReadOptions::default()
    };
    let snapshot = match read(&folder.join("config_dump.json"), &options) {
        Ok(snapshot) => Arc::new(snapshot),
        Err(error) => {
            println!("{}: not read: {error}", folder.display());
            tally.unread += 1;
            return;
        }
    };
    let requests: Vec<Request> = lines(&folder.join("requests.traffic.jsonl"));
    let recorded: Vec<Decision> = lines(&folder.join("recorded.decisions.jsonl"));
    assert_eq!(requests.len(), recorded.len());
    let mut engine = Spec::new();
    engine.load(&snapshot).expect("the snapshot loads");
    let mut ours = Vec::new();
    let mut now = 0;
    for (line, request) in requests.iter().enumerate() {
        now = request.time_us.unwrap_or(now);
        let answer = engine
            .decide(request, random(request, line), now, true)
            .unwrap_or_else(|e| panic!("{}: {}: {e}", folder.display(), request.id));
        if let Some(held) = answer.held {
            engine.release(held).expect("what is held can be released");
        }
        ours.push(answer.decision);
    }
    let mut picks: BTreeMap<&str, Picks> = BTreeMap::new();
    for ((request, recorded), ours) in requests.iter().zip(&recorded).zip(&ours) {
        let phase = case
            .comparison
            .phase
            .iter()
            .find(|phase| phase.has(recorded));
        for (decision, is_ours) in [(recorded, false), (ours, true)] {
            let mut phases = case.comparison.phase.iter();
            if decision.outcome != Outcome::Forward || !phases.any(|phase| phase.has(decision)) {
                continue;
            }
            let picks = picks
                .entry(decision.cluster.as_deref().unwrap_or_default())
                .or_default();
            let side = if is_ours {
                &mut picks.ours
            } else {
                &mut picks.theirs
            };
            side.push(decision);
        }
        if ours.outcome == Outcome::Unsupported {
            tally.unsupported += 1;
            let reason = ours.reason.clone().unwrap_or_default();
            *tally.reasons.entry(reason).or_default() += 1;
            continue;
        }
        let (theirs, mine) = (fields(recorded), fields(ours));
        let different: Vec<_> = case
            .comparison
            .exact
            .iter()
            .filter(|field| {
                !fit(&theirs[field.as_str()], &mine[field.as_str()])
                    && !phase.is_some_and(|phase| phase.fields.contains(field))
                    && !case
                        .comparison
                        .distribution
                        .iter()
                        .any(|distribution| distribution.frees(field, recorded))
                    && !is_recorders_doing(field, recorded, ours)
            })
            .map(|field| format!("{field}: envoy {} spec {}", theirs[field], mine[field]))
            .collect();
        let drawn = theirs["route"] != mine["route"] && is_fractional(&snapshot, recorded);
        if different.is_empty() || drawn {
            tally.agreed += 1;
        } else {
            tally.different.push(format!(
                "{} {}: {}\n    request {}\n    reason {:?}, envoy's {:?}",
                folder.display(),
                request.id,
                different.join("; "),
                serde_json::to_string(request).expect("a request can be written"),
                ours.reason,
                recorded.reason,
            ));
        }
    }
    for phase in &case.comparison.phase {
        let Some(picks) = picks.get(phase.cluster.as_str()) else {
            continue;
        };
        if !is_rotation(picks, phase) {
            let list = |decisions: &[&Decision]| {
                let endpoints: Vec<_> = decisions
                    .iter()
                    .map(|decision| decision.endpoint.as_deref().unwrap_or_default())
                    .collect();
                endpoints.join(" ")
            };
            tally.different.push(format!(
                "{} cluster {}: the picks are no rotation of Envoy's (period {})\n    envoy {}\n    spec  {}",
                folder.display(),
                phase.cluster,
                phase.period,
                list(&picks.theirs),
                list(&picks.ours),
            ));
        }
    }
}

/// The picks of one cluster, in order. The sides need not be as long: a request that is
/// unsupported here moved Envoy's balancer and not this one, and a random choice among clusters
/// falls elsewhere.
#[derive(Default)]
struct Picks<'a> {
    theirs: Vec<&'a Decision>,
    ours: Vec<&'a Decision>,
}

/// Whether ours is Envoy's cycle started elsewhere.
fn is_rotation(picks: &Picks<'_>, phase: &Phase) -> bool {
    let key = |decision: &&Decision| -> Vec<Value> {
        let all = fields(decision);
        phase
            .fields
            .iter()
            .map(|field| all[field].clone())
            .collect()
    };
    let theirs: Vec<_> = picks.theirs.iter().map(key).collect();
    let ours: Vec<_> = picks.ours.iter().map(key).collect();
    let period = phase.period.max(1);
    (0..period).any(|shift| {
        // Positions shift apart lie at the same place of the cycle.
        let mut cycle: Vec<Option<&Vec<Value>>> = vec![None; period];
        let mut agree = |position: usize, value| match cycle.get_mut(position % period) {
            Some(place @ None) => {
                *place = Some(value);
                true
            }
            Some(Some(other)) => *other == value,
            None => false,
        };
        theirs
            .iter()
            .enumerate()
            .all(|(position, value)| agree(position, value))
            && ours
                .iter()
                .enumerate()
                .all(|(position, value)| agree(position + shift, value))
    })
}

/// The folders that hold a case, with the name of the set each belongs to.
fn cases(root: &Path, found: &mut Vec<(String, PathBuf)>) {
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap_or_else(|e| panic!("{}: {e}", root.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    for folder in folders {
        if folder.join("requests.endpoints.toml").exists() {
            // What came of its attempts was recorded, which takes the driver: sim/tests/attempts.
        } else if folder.join("case.toml").exists() {
            let set = root
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            found.push((set.unwrap_or_default(), folder));
        } else {
            cases(&folder, found);
        }
    }
}

/// Whether a runtime fraction draws among the routes of the decision's virtual host: Envoy drew
/// with another number.
fn is_fractional(snapshot: &Snapshot, decision: &Decision) -> bool {
    let named = |name: &str, wanted: &Option<String>| wanted.as_deref() == Some(name);
    let configurations = snapshot.route_configurations.iter();
    let hosts = configurations
        .filter(|it| named(&it.name, &decision.route_config))
        .flat_map(|it| &it.config.virtual_hosts)
        .filter(|it| named(&it.name, &decision.virtual_host));
    let mut routes = hosts.flat_map(|host| &host.routes);
    routes.any(|route| {
        let route_match = route.r#match.as_ref();
        let open = |it| !is_always_taken(it) && !is_never_taken(it);
        route_match.is_some_and(open)
    })
}

#[test]
fn no_decision_differs_from_the_recorded_one() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = workspace.join("../shared/corpus/recorded");
    let mut found = Vec::new();
    if corpus.is_dir() {
        cases(&corpus, &mut found);
    } else {
        println!("{} is absent: nothing of it was replayed", corpus.display());
    }
    let fixtures = workspace.join("fixtures");
    if fixtures.is_dir() {
        cases(&fixtures, &mut found);
    }
    for root in std::env::var("TWINMESH_CASES")
        .unwrap_or_default()
        .split(':')
    {
        if !root.is_empty() {
            cases(Path::new(root), &mut found);
        }
    }
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for (set, folder) in &found {
        replay(folder, tallies.entry(set.clone()).or_default());
    }
    let mut different = Vec::new();
    for (set, tally) in tallies {
        println!(
            "{set}: {} cases ({} not read), {} agreed, {} unsupported, {} different",
            tally.cases,
            tally.unread,
            tally.agreed,
            tally.unsupported,
            tally.different.len()
        );
        for (reason, count) in tally.reasons {
            println!("    {count} {reason}");
        }
        different.extend(tally.different);
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
