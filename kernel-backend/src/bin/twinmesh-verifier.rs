//! Loads the BPF object into this machine's kernel and prints, as one line of JSON, what the
//! verifier made of it: kernel release, program, verified instructions, bytes of machine code.
//! Exit code 1 where it does not load.

use std::process::ExitCode;

use serde_json::json;
use twinmesh_kernel_backend::Kernel;

fn report() -> Result<serde_json::Value, String> {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    let kernel = Kernel::new().map_err(|why| why.to_string())?;
    let verified = kernel.verified().map_err(|error| error.to_string())?;
    Ok(json!({
        "kernel": release.trim(),
        "program": verified.program,
        "verified_instructions": verified.instructions,
        "jited_bytes": verified.jited_bytes,
    }))
}

fn main() -> ExitCode {
    match report() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("twinmesh-verifier: {why}");
            ExitCode::FAILURE
        }
    }
}
