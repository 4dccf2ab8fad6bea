//! What the tests share: recorded cases, and the engines that run here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinmesh_engine::{Answer, Engine, Request};
use twinmesh_kernel_backend::Kernel;
use twinmesh_xds::Snapshot;

/// One recorded case.
pub struct Case {
    pub name: String,
    pub snapshot: Arc<Snapshot>,
    pub requests: Vec<Request>,
}

fn folders(root: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.join("case.toml").is_file() {
            found.push(path);
        } else if path.is_dir() {
            folders(&path, found);
        }
    }
}

/// The project's fixtures, and the recorded corpus where it is at hand.
pub fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    folders(&root.join("fixtures"), &mut found);
    assert!(found.len() >= 8, "the fixtures are missing");
    let corpus = root.join("../shared/corpus/recorded");
    if corpus.is_dir() {
        folders(&corpus, &mut found);
    } else {
        println!("the recorded corpus is not here: only the fixtures are replayed");
    }
    found.sort();
    found.iter().map(|folder| read(folder)).collect()
}

fn read(folder: &Path) -> Case {
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let snapshot = ["config_dump.json", "snapshot.json", "snapshot.yaml"]
        .iter()
        .map(|file| folder.join(file))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} has no snapshot"));
    let snapshot = twinmesh_xds::read(&snapshot, &twinmesh_xds::ReadOptions::default());
    let traffic = folder.join("requests.traffic.jsonl");
    let requests = twinmesh_engine::format::traffic::read(&traffic);
    Case {
        snapshot: Arc::new(snapshot.unwrap_or_else(|error| panic!("{name}: {error}"))),
        requests: requests.unwrap_or_else(|error| panic!("{name}: {error}")),
        name,
    }
}

/// A snapshot written here.
pub fn snapshot(text: &str) -> Arc<Snapshot> {
    let folder = std::env::temp_dir().join(format!(
        "twinmesh-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).expect("a folder for the snapshot");
    let file = folder.join("snapshot.json");
    std::fs::write(&file, text).expect("the snapshot is written");
    let read = twinmesh_xds::read(&file, &twinmesh_xds::ReadOptions::default());
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

/// The kernel engine. Where it cannot run this says why; with
/// `TWINMESH_REQUIRE_KERNEL` set, as in CI, that is a failure.
pub fn kernel() -> Option<Kernel> {
    match Kernel::new() {
        Ok(kernel) => Some(kernel),
        Err(why)
            if std::env::var_os("TWINMESH_REQUIRE_KERNEL").is_some_and(|value| value != "0") =>
        {
            panic!("the kernel engine must run: {why}")
        }
        Err(why) => {
            println!("the engine kernel does not run here: {why}");
            None
        }
    }
}

/// An answer without what differs from engine to engine.
pub fn plain(mut answer: Answer) -> Answer {
    answer.decision.engine = None;
    if let Some(held) = &mut answer.held {
        held.generation = 0;
    }
    answer
}

/// The random numbers of a case, the same for every engine.
pub fn random(request: &Request, index: usize) -> u64 {
    request
        .random
        .unwrap_or_else(|| twinmesh_model::random::draw(index as u64, 1))
}

/// All engines over one object; the first is the simulator.
pub fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(twinmesh_sim::Sim::default())];
    engines.push(Box::new(
        twinmesh_kernel_backend::BpfVm::new().expect("the VM runs everywhere"),
    ));
    if let Some(kernel) = kernel() {
        engines.push(Box::new(kernel));
    }
    engines
}
