//! Decisions a second of the model in userspace, by number of routes. The requests go round a
//! thousand routes spread over the table, so that caches are neither all warm nor all cold.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use twinmesh_compile::{Input, compile};
use twinmesh_engine::Request;
use twinmesh_model::Machine;
use twinmesh_model::layout::{input, work};
use twinmesh_sim::Memory;
use twinmesh_sim::tables::{Shape, bootstrap, request};

/// Requests of one table, laid out once.
struct Prepared {
    memory: Memory,
    heads: Vec<Vec<u8>>,
}

fn prepare(shape: Shape, routes: usize) -> Prepared {
    let json = bootstrap(shape, routes);
    let options = twinmesh_xds::ReadOptions::default();
    let snapshot = Arc::new(
        twinmesh_xds::read_bytes("bench", json.as_bytes(), &options).expect("the table reads"),
    );
    let compiled = compile(&snapshot).expect("the table compiles");
    let mut memory = Memory::new(&compiled);
    let count = routes.clamp(1, 1000);
    let heads = (0..count)
        .map(|index| {
            let line = request(shape, index * routes.max(1) / count);
            let request: Request = serde_json::from_str(&line).expect("the request reads");
            compiled
                .prepare(&request, 7, 1, &mut memory)
                .expect("the request is laid out");
            request.head()
        })
        .collect();
    Prepared { memory, heads }
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sim");
    group.throughput(Throughput::Elements(1));
    for (name, shape) in [("typical", Shape::Typical), ("hostile", Shape::Hostile)] {
        for routes in [10, 100, 1_000, 10_000, 100_000] {
            let Prepared { mut memory, heads } = prepare(shape, routes);
            let mut turn = 0;
            let mut sequence = 1;
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter(|| {
                    let head = heads.get(turn).expect("a head");
                    turn = if turn + 1 == heads.len() { 0 } else { turn + 1 };
                    sequence += 1;
                    Input::set_bytes(&mut memory, input::HEAD, head);
                    Machine::set_word(&mut memory, work::HEAD_LENGTH, head.len() as u64);
                    Machine::set_word(&mut memory, work::SEQUENCE, sequence);
                    Machine::set_word(&mut memory, work::RANDOM, sequence);
                    twinmesh_model::decide(&mut memory);
                    black_box(memory.word(work::OUTCOME))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
