//! What this machine can and cannot do, and what its kernel says about it.

use std::time::Duration;

use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions};

use crate::Unavailable;

/// The last lines of a text, which is where the verifier says what it refuses.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(12)..)
        .unwrap_or_default()
        .join("\n  ")
}

/// Why the kernel refuses a program.
pub fn load_error(program: &str, failed: &ProgramError) -> String {
    match failed {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            format!(
                "the kernel refuses the program `{program}`: {io_error}\n  {}",
                last_lines(&verifier_log.to_string())
            )
        }
        other => format!("the kernel refuses the program `{program}`: {other}"),
    }
}

/// All causes of an error, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Says why BPF programs cannot run here, where that can be told beforehand.
pub fn check_machine() -> Result<(), Unavailable> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Err(Unavailable(format!(
            "the BPF object is built for Linux on x86-64, and this is {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )));
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    if let (Some(major), Some(minor)) = (numbers.next(), numbers.next())
        && (major, minor) < (6, 1)
    {
        return Err(Unavailable(format!(
            "kernel {release} is older than 6.1, the oldest that the object is made for"
        )));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    let has = |capability: u32| effective >> capability & 1 == 1;
    let (net_admin, sys_admin, perfmon, bpf) = (12, 21, 38, 39);
    let missing: Vec<&str> = [
        (bpf, "CAP_BPF"),
        (net_admin, "CAP_NET_ADMIN"),
        (perfmon, "CAP_PERFMON"),
    ]
    .into_iter()
    .filter(|(capability, _)| !has(*capability) && !has(sys_admin))
    .map(|(_, name)| name)
    .collect();
    if !missing.is_empty() {
        return Err(Unavailable(format!(
            "needs {}, which this process lacks: run it as root",
            missing.join(", ")
        )));
    }
    Ok(())
}

/// `MEMBARRIER_CMD_GLOBAL`: returns when every read-side section of RCU has ended, in which BPF
/// programs run.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Waits until every BPF program that is running now has ended.
///
/// # Errors
/// The kernel has no way to wait.
pub fn wait_for_programs() -> Result<(), String> {
    // SAFETY: the call takes no pointer.
    if unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } == 0 {
        return Ok(());
    }
    let failed = std::io::Error::last_os_error();
    Err(format!(
        "cannot wait for running programs by membarrier(2): {failed}"
    ))
}

/// Where a socket buffer's mark stands in `struct __sk_buff`.
const MARK: usize = 8;
/// A packet as short as the kernel takes one.
const PACKET: [u8; 64] = [0; 64];

/// Runs a program by `BPF_PROG_TEST_RUN` over a packet with this mark: what it returned, and how
/// long one run took.
///
/// # Errors
/// It did not run.
pub fn test_run(
    program: &SchedClassifier,
    mark: u32,
    repeat: u32,
) -> Result<(u32, Duration), String> {
    let mut context = [0; 192];
    let mut options = TestRunOptions::new();
    options.data_in = Some(&PACKET);
    options.repeat = repeat;
    if mark != 0 {
        if let Some(at) = context
            .get_mut(MARK..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *at = mark.to_ne_bytes();
        }
        options.ctx_in = Some(&context);
    }
    let result = program.test_run(options);
    let result =
        result.map_err(|failed| format!("BPF_PROG_TEST_RUN failed: {}", causes(&failed)))?;
    Ok((result.return_value, result.duration))
}
