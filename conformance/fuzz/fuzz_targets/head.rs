//! The head parser against httparse.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use twinmesh_generate::fuzz;

fuzz_target!(|bytes: &[u8]| {
    static CATCH_ALL: LazyLock<fuzz::CatchAll> = LazyLock::new(fuzz::catch_all);
    fuzz::head(&CATCH_ALL, bytes);
});
