//! Decisions a second of the model in userspace, by number of routes. The requests go round a
//! thousand, spread over the table, so that caches are neither all warm nor all cold.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use twinmesh_compile::compile;
use twinmesh_sim::tables::{Shape, Turns, bootstrap, requests};

fn turns(shape: Shape, routes: usize) -> Turns {
    let json = bootstrap(shape, routes);
    let options = twinmesh_xds::ReadOptions::default();
    let snapshot = Arc::new(
        twinmesh_xds::read_bytes("bench", json.as_bytes(), &options).expect("the table reads"),
    );
    let compiled = compile(&snapshot).expect("the table compiles");
    let requests: Vec<_> = requests(shape, routes)
        .map(|line| serde_json::from_str(&line).expect("the request reads"))
        .collect();
    Turns::new(&compiled, &requests).expect("the requests are laid out")
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sim");
    group.throughput(Throughput::Elements(1));
    for (name, shape) in [("typical", Shape::Typical), ("hostile", Shape::Hostile)] {
        for routes in [10, 100, 1_000, 10_000, 100_000] {
            let mut turns = turns(shape, routes);
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter(|| black_box(turns.decide()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
