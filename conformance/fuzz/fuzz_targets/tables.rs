//! The table compiler, over generated snapshots: the bytes seed the generator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinmesh_generate::fuzz;

fuzz_target!(|bytes: &[u8]| {
    fuzz::tables(bytes);
});
