//! Recorded dumps and public configurations are read, where they lie beside the project.

use std::path::{Path, PathBuf};

use twinmesh_xds::{ReadError, ReadOptions, Snapshot, read, read_bytes, to_json};

/// `<workspace>/../shared/corpus`, or a word that it is absent.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("absent, so not tested: {}", folder.display());
    None
}

fn files(folder: &Path, keep: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        panic!("{} cannot be listed", folder.display());
    };
    for entry in entries {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            files(&path, keep, found);
        } else if keep(&path) {
            found.push(path);
        }
    }
}

#[test]
fn recorded_dumps_are_read() {
    let Some(corpus) = corpus() else { return };
    let mut dumps = Vec::new();
    let is_dump = |path: &Path| path.ends_with("config_dump.json");
    files(&corpus.join("recorded"), &is_dump, &mut dumps);
    assert_eq!(dumps.len(), 160);
    for dump in dumps {
        let snapshot = match read(&dump, &ReadOptions::default()) {
            Ok(snapshot) => snapshot,
            Err(error) => panic!("{error}"),
        };
        assert!(!snapshot.listeners.is_empty(), "{}", dump.display());
    }
}

#[test]
fn what_is_written_reads_back_as_the_same_snapshot() {
    let Some(corpus) = corpus() else { return };
    let mut dumps = Vec::new();
    let is_dump = |path: &Path| path.ends_with("config_dump.json");
    files(&corpus.join("recorded"), &is_dump, &mut dumps);
    dumps.extend(
        ["authz_configdump.yaml", "proxyconfig_config_dump.json"]
            .map(|name| corpus.join("public/istio").join(name)),
    );
    for dump in dumps {
        let before = match read(&dump, &ReadOptions::default()) {
            Ok(snapshot) => snapshot,
            Err(error) => panic!("{error}"),
        };
        let text = to_json(&before);
        let after = match read_bytes("written", text.as_bytes(), &ReadOptions::default()) {
            Ok(snapshot) => snapshot,
            Err(error) => panic!("{}: {error}\n{text}", dump.display()),
        };
        let (before, after) = (comparable(before), comparable(after));
        // Not `assert_eq`: nobody reads a megabyte of differences.
        assert!(before == after, "{}", dump.display());
    }
}

/// A snapshot without its report, and without the bytes of terminal filters: those are the
/// terminals' own, with their fields in another order.
fn comparable(mut snapshot: Snapshot) -> Snapshot {
    snapshot.report.findings.clear();
    for listener in &mut snapshot.listeners {
        listener.config.filter_chains.clear();
        listener.config.default_filter_chain = None;
        let chains = listener.filter_chains.iter_mut();
        for chain in chains.chain(&mut listener.default_filter_chain) {
            chain.config.filters.pop();
        }
    }
    snapshot
}

/// Files of other shapes, which are told apart.
const NOT_SNAPSHOTS: [&str; 4] = [
    "istio/none_cds.json",
    "istio/none_rds.json",
    "istio/endpoint/emptyfilter_output.json",
    "istio/endpoint/portfilter_output.json",
];

#[test]
fn public_configurations_are_read() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("public");
    let is_configuration = |path: &Path| {
        let name = path.to_string_lossy();
        (name.ends_with(".yaml") || name.ends_with(".json")) && !name.contains(".golden.")
    };
    let mut found = Vec::new();
    files(&folder, &is_configuration, &mut found);
    assert!(found.len() >= 25, "{} files", found.len());
    for file in found {
        let result = read(&file, &ReadOptions::default());
        if NOT_SNAPSHOTS.iter().any(|name| file.ends_with(name)) {
            assert!(
                matches!(result, Err(ReadError::UnknownForm { .. })),
                "{}",
                file.display()
            );
        } else if let Err(error) = result {
            panic!("{error}");
        }
    }
}
