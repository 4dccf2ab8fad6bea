//! What profiles leave undecided of a snapshot.

use twinmesh_xds::{Effect, Profile, ReadOptions, Snapshot, read_bytes};

fn read(text: &str, profile: Profile) -> Snapshot {
    let options = ReadOptions {
        profile,
        ..ReadOptions::default()
    };
    let read = read_bytes("t.json", text.as_bytes(), &options);
    let snapshot = read.expect("it is read");
    assert_eq!(snapshot.profile, profile);
    snapshot
}

/// A route configuration with these routes.
fn routes(routes: &[&str]) -> String {
    let routes = routes.join(",");
    format!(
        r#"{{"name": "rc", "virtual_hosts": [{{"name": "v", "domains": ["*"], "routes": [{routes}]}}]}}"#
    )
}

/// Of each route, the field and the reason for which it is not decided.
fn left(snapshot: &Snapshot) -> Vec<Option<String>> {
    let hosts = &snapshot.route_configurations[0].virtual_hosts;
    let routes = hosts[0].routes.iter();
    routes
        .map(|mark| mark.as_ref().map(ToString::to_string))
        .collect()
}

#[test]
fn envoy_1_38_has_no_redirects_by_format() {
    let snapshot = routes(&[
        r#"{"match": {"prefix": "/a"}, "redirect": {"path_rewrite": "/%REQ(x)%"}}"#,
        r#"{"match": {"prefix": "/b"}, "redirect": {"path_redirect": "/x"}}"#,
    ]);
    assert_eq!(left(&read(&snapshot, Profile::Envoy140)), [None, None]);
    let older = read(&snapshot, Profile::Envoy138);
    let marks = left(&older);
    let mark = marks[0].as_deref().expect("it is not decided");
    assert!(
        mark.starts_with("virtual_hosts[0].routes[0].redirect.path_rewrite: Envoy 1.38"),
        "{mark}"
    );
    assert_eq!(marks[1], None);
    let mut findings = older.report.findings.iter();
    assert!(findings.any(|it| it.effect == Effect::Unsupported && mark.starts_with(&it.path)));
}
