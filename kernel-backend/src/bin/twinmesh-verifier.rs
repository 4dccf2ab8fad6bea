//! Loads the BPF objects into this machine's kernel and prints, as a line of JSON a program, what
//! the verifier made of it: kernel release, program, verified instructions, bytes of machine code.
//! Then it sends known bytes through each path of the datapath, and prints a line a path. Exit
//! code 1 where a program does not load or a path does not carry the bytes.

use std::process::ExitCode;

use serde_json::json;
use twinmesh_kernel_backend::datapath::probe::probe;
use twinmesh_kernel_backend::datapath::{Datapath, Sizes, cgroup};
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
    drop(datapath);
    let mut refused = Vec::new();
    for probed in probe(&cgroup::own()?, &cgroup::root()?) {
        let (works, what) = match &probed.outcome {
            Ok(seen) => (true, seen),
            Err(why) => (false, why),
        };
        println!(
            "{}",
            json!({"kernel": release.trim(), "path": probed.path, "works": works, "what": what})
        );
        if !works {
            refused.push(format!("{}: {what}", probed.path));
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(refused.join("; "))
    }
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
