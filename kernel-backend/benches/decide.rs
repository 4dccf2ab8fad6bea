//! Time of one decision in the kernel (BPF_PROG_TEST_RUN with repeat), by number of routes: a head
//! of about 256 bytes with six headers. Needs root and a kernel with BPF; says so where it has not.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use twinmesh_engine::{Engine, Request};
use twinmesh_kernel_backend::Kernel;
use twinmesh_sim::tables::{Shape, bootstrap, request};

fn decide(criterion: &mut Criterion) {
    let mut kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(unavailable) => {
            println!("kernel: not measured: {unavailable}");
            return;
        }
    };
    let mut group = criterion.benchmark_group("kernel");
    for (name, shape) in [("typical", Shape::Typical), ("hostile", Shape::Hostile)] {
        for routes in [10, 1_000, 10_000, 100_000] {
            let json = bootstrap(shape, routes);
            let options = twinmesh_xds::ReadOptions::default();
            let snapshot = twinmesh_xds::read_bytes("bench", json.as_bytes(), &options)
                .expect("the table reads");
            kernel
                .load(&Arc::new(snapshot))
                .expect("the kernel takes the table");
            // The last route that has a path of its own and a header to match.
            let line = request(shape, (routes - 1) / 3 * 3 - 1, 42);
            let request: Request = serde_json::from_str(&line).expect("the request reads");
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter_custom(|iterations| {
                    let repeat = u32::try_from(iterations).unwrap_or(u32::MAX).max(1);
                    let each = kernel
                        .bench(&request, 7, repeat)
                        .expect("the kernel decides");
                    each * repeat + Duration::from_nanos(1)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
