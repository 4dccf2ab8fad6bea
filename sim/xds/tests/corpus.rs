//! Recorded dumps and public configurations are read, where they lie beside the project.

use std::path::{Path, PathBuf};

use twinmesh_xds::{ReadOptions, read};

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
