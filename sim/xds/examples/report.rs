use std::collections::BTreeMap;
fn main() {
    for path in std::env::args().skip(1) {
        let start = std::time::Instant::now();
        match twinmesh_xds::read(path.as_ref(), &twinmesh_xds::ReadOptions::default()) {
            Ok(s) => {
                let mut n: BTreeMap<String, usize> = BTreeMap::new();
                for f in &s.report.findings {
                    *n.entry(format!(
                        "{:?} {:?} {}: {}",
                        f.effect,
                        f.kind,
                        f.path.rsplit('.').next().unwrap_or(""),
                        f.message
                    ))
                    .or_default() += 1;
                }
                println!(
                    "== {path}: {} l {} rc {} c {} regexes {} findings in {:?}",
                    s.listeners.len(),
                    s.route_configurations.len(),
                    s.clusters.len(),
                    s.regexes.len(),
                    s.report.findings.len(),
                    start.elapsed()
                );
                for (k, v) in n {
                    println!("   {v} {k}");
                }
            }
            Err(e) => println!("== ERROR {e}"),
        }
    }
}
