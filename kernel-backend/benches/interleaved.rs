//! The README's table: time of one decision by number of routes, in `sim` and in the kernel, all
//! tables in turn, so that what else the machine does meets them alike. Each cell is the median of
//! the rounds, with the least and the most; ratios are taken within a round.
//!
//! The targets are the project's own; a missed one is shown as missed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use twinmesh_compile::compile;
use twinmesh_engine::{Engine, Request};
use twinmesh_kernel_backend::Kernel;
use twinmesh_sim::tables::{Shape, Turns, bootstrap, request, requests};
use twinmesh_xds::Snapshot;

const ROUNDS: usize = 101;
/// Decisions of one table in one round.
const SIM_DECISIONS: u32 = 10_000;
const KERNEL_DECISIONS: u32 = 5_000;
const ROUTES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const SHAPES: [(&str, Shape); 2] = [("typical", Shape::Typical), ("hostile", Shape::Hostile)];

/// One row of the table.
struct Row {
    engine: &'static str,
    shape: &'static str,
    routes: usize,
    /// Nanoseconds a decision, at most.
    target: Option<f64>,
    /// Times the row of ten routes, at most.
    ratio_target: Option<f64>,
    measure: Box<dyn FnMut() -> f64>,
    rounds: Vec<f64>,
}

fn snapshot(shape: Shape, routes: usize) -> Arc<Snapshot> {
    let json = bootstrap(shape, routes);
    let options = twinmesh_xds::ReadOptions::default();
    let read = twinmesh_xds::read_bytes("bench", json.as_bytes(), &options);
    Arc::new(read.expect("the table reads"))
}

fn parse(line: &str) -> Request {
    serde_json::from_str(line).expect("the request reads")
}

fn in_userspace(shape: Shape, routes: usize) -> Box<dyn FnMut() -> f64> {
    let compiled = compile(&snapshot(shape, routes)).expect("the table compiles");
    let requests: Vec<_> = requests(shape, routes).map(|line| parse(&line)).collect();
    let mut turns = Turns::new(&compiled, &requests).expect("the requests are laid out");
    Box::new(move || {
        let started = Instant::now();
        for _ in 0..SIM_DECISIONS {
            black_box(turns.decide());
        }
        started.elapsed().as_nanos() as f64 / f64::from(SIM_DECISIONS)
    })
}

fn in_the_kernel(mut kernel: Kernel, shape: Shape, routes: usize) -> Box<dyn FnMut() -> f64> {
    let loaded = kernel.load(&snapshot(shape, routes));
    loaded.expect("the kernel takes the table");
    // The last route that has a path of its own and a header to match.
    let request = parse(&request(shape, (routes - 1) / 3 * 3 - 1, 42));
    Box::new(move || {
        let each = kernel.bench(&request, 7, KERNEL_DECISIONS);
        each.expect("the kernel decides").as_nanos() as f64
    })
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (engine, with_hundred) in [("sim", 333.0), ("kernel", 800.0)] {
        for (name, shape) in SHAPES {
            for routes in ROUTES {
                let measure = if engine == "sim" {
                    in_userspace(shape, routes)
                } else {
                    match Kernel::new() {
                        Ok(kernel) => in_the_kernel(kernel, shape, routes),
                        Err(why) => {
                            println!("kernel: not measured: {why}\n");
                            return rows;
                        }
                    }
                };
                let of_target = if engine == "sim" { 100 } else { 1_000 };
                rows.push(Row {
                    engine,
                    shape: name,
                    routes,
                    target: (routes == of_target && shape == Shape::Typical)
                        .then_some(with_hundred),
                    ratio_target: match routes {
                        10_000 => Some(1.2),
                        100_000 => Some(1.5),
                        _ => None,
                    },
                    measure,
                    rounds: Vec::with_capacity(ROUNDS),
                });
            }
        }
    }
    rows
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (
        at(values.len() / 2),
        at(0),
        at(values.len().saturating_sub(1)),
    )
}

fn met(target: Option<f64>, value: f64) -> String {
    match target {
        Some(target) if value <= target => format!(" (target {target}: met)"),
        Some(target) => format!(" (target {target}: missed)"),
        None => String::new(),
    }
}

fn main() {
    let mut rows = rows();
    for _ in 0..ROUNDS {
        for row in &mut rows {
            let one = (row.measure)();
            row.rounds.push(one);
        }
    }
    println!("| engine | table | routes | ns a decision, median | min | max | times 10 routes |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for row in &rows {
        let smallest = rows
            .iter()
            .find(|other| other.engine == row.engine && other.shape == row.shape);
        let Some(smallest) = smallest else {
            continue;
        };
        let ratios = row.rounds.iter().zip(&smallest.rounds);
        let (ratio, ..) = spread(ratios.map(|(one, ten)| one / ten).collect());
        let (median, least, most) = spread(row.rounds.clone());
        println!(
            "| {} | {} | {} | {median:.0}{} | {least:.0} | {most:.0} | {ratio:.2}{} |",
            row.engine,
            row.shape,
            row.routes,
            met(row.target, median),
            met(row.ratio_target, ratio),
        );
    }
    println!("\n{ROUNDS} rounds, all tables in turn");
}
