//! The snapshot reader, over any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinmesh_generate::fuzz;

fuzz_target!(|bytes: &[u8]| {
    fuzz::snapshot(bytes);
});
