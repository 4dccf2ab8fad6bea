//! The recorded cases with endpoint scripts: statuses, response flags and attempts as Envoy had them.

use std::path::Path;
use std::sync::Arc;

use twinmesh_engine::format::{decisions, endpoints::Script, traffic};
use twinmesh_xds::ReadOptions;

use crate::snapshot::both;

#[test]
fn engines_decide_as_recorded() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut compared = 0;
    for folder in std::fs::read_dir(&fixtures).expect("the fixtures") {
        let folder = folder.expect("an entry").path();
        let file = folder.join("requests.endpoints.toml");
        if !file.exists() {
            continue;
        }
        let script = Script::read(&file).expect("a script");
        let snapshot =
            twinmesh_xds::read(&folder.join("config_dump.json"), &ReadOptions::default());
        let snapshot = Arc::new(snapshot.expect("a snapshot"));
        let requests = traffic::read(&folder.join("requests.traffic.jsonl")).expect("traffic");
        let recorded = decisions::read(&folder.join("recorded.decisions.jsonl"));
        let answers = both(&snapshot, &requests, &script);
        for (recorded, answer) in recorded.expect("decisions").into_iter().zip(answers) {
            let found = answer.decision;
            let part = |it: &twinmesh_engine::Decision| {
                (
                    it.outcome,
                    it.route.clone(),
                    it.status,
                    it.response_flags.clone(),
                    it.attempts,
                )
            };
            assert_eq!(
                part(&recorded),
                part(&found),
                "{}: {recorded:?}",
                folder.display()
            );
            compared += 1;
        }
    }
    assert!(compared > 80, "{compared} compared");
}
