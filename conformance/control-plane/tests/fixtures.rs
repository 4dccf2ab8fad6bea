//! Every recorded case goes over ADS and comes out as the same policy.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use rstest::rstest;
use twinmesh_control_plane::Served;
use twinmesh_xds::{Profile, ReadOptions, read};

/// The configuration of all cases in fixtures/.
fn cases() -> Vec<PathBuf> {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let folders = std::fs::read_dir(fixtures).expect("the fixtures");
    let mut cases: Vec<PathBuf> = folders
        .map(|folder| folder.expect("a folder").path().join("config_dump.json"))
        .filter(|file| file.is_file())
        .collect();
    cases.sort();
    assert!(cases.len() >= 15, "{cases:?}");
    cases
}

/// Whose rules decide the case: what its bootstrap has the runtime say to that does not go over ADS.
fn profile(dump: &Path) -> Profile {
    let case = std::fs::read_to_string(dump.with_file_name("case.toml")).expect("a case");
    let named = Profile::ALL.into_iter().find(|profile| {
        let line = format!("profile = \"{profile}\"");
        case.lines().any(|it| it == line)
    });
    named.unwrap_or_default()
}

#[rstest]
#[tokio::test]
async fn every_case_is_the_same_policy_over_ads(#[values(false, true)] delta: bool) {
    let server = server().await;
    let mut agent = Agent::of(&server, delta);
    for (index, case) in cases().into_iter().enumerate() {
        let options = ReadOptions {
            profile: profile(&case),
            ..ReadOptions::default()
        };
        let expected = read(&case, &options).expect("it is read");
        let served = Served::read(&case, Some(&format!("case {index}"))).expect("it is served");
        server.serve(served);
        let names = |names: &mut dyn Iterator<Item = &String>| {
            let mut names: Vec<String> = names.cloned().collect();
            names.sort();
            names
        };
        let listeners = names(&mut expected.listeners.iter().map(|one| &one.name));
        let clusters = names(&mut expected.clusters.iter().map(|one| &one.name));
        let policy = agent
            .policy(|policy| {
                let snapshot = &policy.snapshot;
                names(&mut snapshot.listeners.iter().map(|one| &one.name)) == listeners
                    && expected.listeners.iter().all(|one| {
                        let chains = &one.config.filter_chains;
                        let mut found = snapshot.listeners.iter();
                        found.any(|found| {
                            found.name == one.name && found.config.filter_chains == *chains
                        })
                    })
                    && names(&mut snapshot.clusters.iter().map(|one| &one.name)) == clusters
                    && expected.clusters.iter().all(|one| {
                        snapshot.cluster(&one.name).map(|found| &found.config) == Some(&one.config)
                    })
                    && policy.warming.is_empty()
            })
            .await;
        for listener in &expected.listeners {
            let mut found = policy.snapshot.listeners.iter();
            let found = found
                .find(|one| one.name == listener.name)
                .expect("a listener");
            assert_eq!(found.unsupported, listener.unsupported);
        }
        for configuration in &expected.route_configurations {
            let mut found = policy.snapshot.route_configurations.iter();
            assert!(
                found.any(|one| one.config == configuration.config),
                "{}: {}",
                case.display(),
                configuration.name
            );
        }
        assert!(policy.absent.is_empty(), "{:?}", policy.absent);
    }
    let events = all_answered(&server).await;
    let refused: Vec<&str> = events
        .iter()
        .map(|one| one.error.as_str())
        .filter(|error| !error.is_empty())
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}
