//! `generate` on the small mesh, word for word, and what it does with files.

mod common;

use common::{shop, twinmesh_in};

#[test]
fn the_report_and_the_traffic() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(shop(), folder.path().join("shop.yaml")).expect("the snapshot");
    let arguments = [
        "generate",
        "--snapshot",
        "shop.yaml",
        "-o",
        "t.jsonl",
        "--no-boundaries",
    ];
    let run = twinmesh_in(folder.path(), &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!("generate_report", run.stdout);
    let traffic = std::fs::read_to_string(folder.path().join("t.jsonl")).expect("the traffic");
    insta::assert_snapshot!("generate_traffic", traffic);
}

#[test]
fn without_a_file_standard_output_has_the_traffic_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(shop(), folder.path().join("shop.yaml")).expect("the snapshot");
    let run = twinmesh_in(folder.path(), &["generate", "--snapshot", "shop.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("proved unreachable: 1"),
        "{}",
        run.stderr
    );
    std::fs::write(folder.path().join("t.jsonl"), &run.stdout).expect("the traffic");
    let replay = ["replay", "--snapshot", "shop.yaml", "--traffic", "t.jsonl"];
    let replayed = twinmesh_in(folder.path(), &replay);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    assert_eq!(replayed.stdout.lines().count(), run.stdout.lines().count());
}

#[test]
fn a_snapshot_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = twinmesh_in(
        folder.path(),
        &["generate", "--snapshot", "none.yaml", "-o", "t"],
    );
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("none.yaml"), "{}", run.stderr);
    assert!(!folder.path().join("t").exists());
}
