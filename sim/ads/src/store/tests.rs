use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use proptest::prelude::*;

use super::*;

fn policy(names: &[&str]) -> Policy {
    let mut resources = Vec::new();
    let mut add = |kind, name: &str, value| {
        resources.push(Arc::new(Resource {
            kind,
            name: name.to_owned(),
            version: format!("v-{name}"),
            value,
        }));
    };
    for name in names {
        let name = (*name).to_owned();
        let cluster = Cluster {
            name: name.clone(),
            ..Cluster::default()
        };
        add(Kind::Cluster, &name, cluster.encode_to_vec());
        let routes = RouteConfiguration {
            name: name.clone(),
            virtual_hosts: vec![VirtualHost {
                name: "host".to_owned(),
                domains: vec!["*".to_owned()],
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        };
        add(Kind::RouteConfiguration, &name, routes.encode_to_vec());
    }
    resources.sort_by_key(|resource| resource.kind);
    let raw = resources.iter().map(|resource| resource.raw());
    let snapshot = read_resources("test", raw, &ReadOptions::default()).expect("it is read");
    let mut versions = PerKind::<String>::default();
    versions[Kind::Cluster] = "7".to_owned();
    let set = ResourceSet {
        snapshot: Arc::new(snapshot),
        versions,
        resources,
        absent: Vec::new(),
        warming: Vec::new(),
    };
    Policy::new(set, now(), Source::Server)
}

fn same(read: &Policy, written: &Policy) {
    assert_eq!(read.resources, written.resources);
    assert_eq!(read.versions, written.versions);
    assert_eq!(read.received, written.received);
    assert_eq!(read.snapshot, written.snapshot);
    assert_eq!(read.source, Source::LastGood);
}

#[test]
fn what_was_written_is_read_back_and_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last-good.pb");
    assert!(matches!(read(&path), Err(StoreError::None { .. })));
    for names in [&["a", "b"][..], &["c"], &[]] {
        let written = policy(names);
        // What a writer that was killed has left is no hindrance.
        fs::write(beside(&path, ".new"), "half").expect("it is written");
        write(&path, &written).expect("it is written");
        same(&read(&path).expect("it is read"), &written);
        let files = fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(files, 1);
    }
}

#[test]
fn the_file_is_a_snapshot_that_every_command_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last-good.pb");
    let written = policy(&["a", "b"]);
    write(&path, &written).expect("it is written");
    let read = twinmesh_xds::read(&path, &ReadOptions::default()).expect("it is read");
    assert_eq!(read.clusters, written.snapshot.clusters);
    assert_eq!(
        read.route_configurations,
        written.snapshot.route_configurations
    );
}

#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last-good.pb");
    write(&path, &policy(&[])).expect("it is written");
    let mode = fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_corrupt_file_is_set_aside_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last-good.pb");
    let content = encode(&policy(&["a"]));
    fs::write(&path, &content[..content.len() - 1]).expect("it is written");
    let text = read(&path).expect_err("it is refused").to_string();
    assert!(
        text.contains("last-good.pb: the last good policy is not used: "),
        "{text}"
    );
    assert!(text.contains("last-good.pb.corrupt"), "{text}");
    assert!(!path.exists());
    assert!(beside(&path, ".corrupt").exists());
    assert!(matches!(read(&path), Err(StoreError::None { .. })));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("missing").join("last-good.pb");
    let text = write(&path, &policy(&[]))
        .expect_err("it fails")
        .to_string();
    assert!(
        text.contains("missing/last-good.pb: the last good policy cannot be written"),
        "{text}"
    );
}

proptest! {
    /// Whatever byte is another one, and wherever the file ends: nothing of it is used.
    #[test]
    fn no_damage_goes_unnoticed(place in any::<prop::sample::Index>(), bit in 0_u32..8, cut in any::<bool>()) {
        let mut content = encode(&policy(&["a", "b"]));
        let place = place.index(content.len());
        if cut {
            content.truncate(place);
        } else {
            content[place] ^= 1 << bit;
        }
        prop_assert!(decode("f", &content).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused(content in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode("f", &content).is_err());
    }
}
