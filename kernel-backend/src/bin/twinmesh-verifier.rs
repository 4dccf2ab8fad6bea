//! Loads the BPF objects into this machine's kernel and prints, as a line of JSON a program, what
//! the verifier made of it: kernel release, program, verified instructions, bytes of machine code.
//! Exit code 1 where one does not load.

use std::process::ExitCode;

use serde_json::json;
use twinmesh_kernel_backend::datapath::{Datapath, Sizes};
use twinmesh_kernel_backend::{Kernel, Verified};

fn report(release: &str, verified: &Verified) {
    let report = json!({
        "kernel": release,
        "program": verified.program,
        "verified_instructions": verified.instructions,
        "jited_bytes": verified.jited_bytes,
    });
    println!("{report}");
}

fn run() -> Result<(), String> {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    let kernel = Kernel::new().map_err(|why| why.to_string())?;
    let verified = kernel.verified().map_err(|error| error.to_string())?;
    report(release.trim(), &verified);
    let datapath = Datapath::load(Sizes::default()).map_err(|why| why.to_string())?;
    for verified in datapath.verified().map_err(|why| why.to_string())? {
        report(release.trim(), &verified);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("twinmesh-verifier: {why}");
            ExitCode::FAILURE
        }
    }
}
