//! Ctrl-C and termination: asked for between requests, so that a run ends with a word about it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::output;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on the first signal is taken note of; a second says a word and ends the
/// process.
///
/// # Errors
/// The handler cannot be set.
pub fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            output::note("error: interrupted twice: ended at once; what was written is not whole");
            std::process::exit(2);
        }
    })
    .map_err(|error| Failure(format!("the signal handler cannot be set: {error}")))
}

/// Whether a signal came.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
