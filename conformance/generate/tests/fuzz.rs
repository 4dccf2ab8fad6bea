//! The fuzz targets' bodies over a seeded corpus: generated heads and snapshots, and what is left
//! of them when bytes of them are changed.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use twinmesh_engine::random::draw;
use twinmesh_generate::{bootstrap, fuzz, tapes, traffic};

/// Bytes with up to three of them changed, doubled or taken out.
fn changed(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for index in 0..draw(seed, 0) % 4 {
        let number = draw(seed, index + 1);
        let at = (number >> 16) as usize % bytes.len().max(1);
        let interesting = b" \t\r\n:/?#\0,\"{}[]0a\xff";
        let byte = interesting[(number >> 8) as usize % interesting.len()];
        match number % 3 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => (),
        }
    }
    bytes
}

#[test]
fn heads_snapshots_and_tables() {
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(2),
        ..Config::default()
    });
    let strategy = (bootstrap(), tapes(60));
    let compiled = fuzz::catch_all();
    let (mut heads, mut taken, mut read) = (0u64, 0, 0);
    for round in 0..40 {
        let input = strategy
            .new_tree(&mut runner)
            .expect("the strategies reject little");
        let (bootstrap, tapes) = input.current();
        for request in traffic::requests(&bootstrap, &tapes) {
            heads += 1;
            let bytes = changed(&request.head(), heads);
            taken += u64::from(fuzz::head(&compiled, &bytes));
        }
        let text = bootstrap.to_string();
        for variant in 0..10 {
            read += u64::from(fuzz::snapshot(&changed(
                text.as_bytes(),
                round * 10 + variant,
            )));
        }
    }
    assert!(
        taken * 10 > heads,
        "the model takes {taken} of {heads} heads only"
    );
    let mut decided = 0;
    for seed in 0..100 {
        let bytes: Vec<u8> = (0..4).flat_map(|at| draw(seed, at).to_le_bytes()).collect();
        decided += fuzz::tables(&bytes);
    }
    assert!(
        decided > 200,
        "{decided} requests of 100 snapshots decided only"
    );
    assert!(read > 20, "{read} of 400 snapshots read only");
}
