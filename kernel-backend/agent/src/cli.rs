//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::datapath::start::{KernelMode, KernelOptions};
use crate::keep::{self, KeepOptions, holder};
use serde_json::json;
use twinmesh_kernel_backend::Capacity;
use twinmesh_kernel_backend::datapath::probe::{Probed, probe};
use twinmesh_kernel_backend::datapath::{Sizes, cgroup};

use crate::logging::{self, LogFormat};
use crate::policy::ads::AdsOptions;
use crate::run::{self, Options, PolicyOptions};
use crate::shadow;

const EXIT_CODES: &str = "Exit codes:
  0  ended by SIGTERM, SIGINT or SIGUSR1, all connections drained, handed over or cut off at
     the deadline
  1  it could not go on: a socket, a thread, the access log
  2  the call or the first snapshot is wrong; the message says where and what was expected";

/// The node agent: carries live traffic, decided as Envoy decides.
#[derive(Debug, Parser)]
#[command(name = "twinmesh-agent", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes policy and serves the snapshot's listeners until SIGTERM or SIGINT.
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArguments>),
    /// Says what this machine's kernel can do for the agent: sends known bytes through each path,
    /// between sockets of this process. Exit code 0 where all carry traffic, 1 where some do not.
    Check(CheckArguments),
    /// Removes what an agent that was killed left: programs, maps, and the sockets that its holder
    /// keeps. Connections that the kernel carries end.
    Detach(KeepArguments),
    /// Holds the sockets of an agent that runs with --keep. It starts one by itself where none is
    /// there; a service manager starts it here, so that it outlives the agent.
    Hold(HoldArguments),
}

#[derive(Debug, Args)]
struct KeepArguments {
    /// The agent's --keep-folder.
    #[arg(long, value_name = "FOLDER", default_value = keep::FOLDER)]
    keep_folder: PathBuf,
    /// The agent's --pins.
    #[arg(long, value_name = "FOLDER", default_value = keep::PINS)]
    pins: PathBuf,
}

#[derive(Debug, Args)]
struct HoldArguments {
    /// Where the agent finds it: `holder.sock` in the agent's --keep-folder.
    #[arg(long, value_name = "PATH", default_value = "/run/twinmesh/holder.sock")]
    socket: PathBuf,
    /// End when the agent ends for good.
    #[arg(long, hide = true)]
    with_agent: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// One JSON line a path.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Policy from this file, in any form that `twinmesh` reads; read again when it changes. A
    /// file that is refused is refused whole, and the policy before goes on.
    #[arg(long, value_name = "FILE", conflicts_with = "bootstrap")]
    snapshot: Option<PathBuf>,
    /// Policy over ADS from the management server that this gRPC xDS bootstrap file names. Without
    /// this and --snapshot, $GRPC_XDS_BOOTSTRAP names the file.
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
    /// Ask for delta ADS, not for the state of the world.
    #[arg(long, conflicts_with = "snapshot")]
    delta: bool,
    /// Keep the last good policy from the management server in this file, and use it when no server
    /// answers at start.
    #[arg(long, value_name = "FILE", conflicts_with = "snapshot")]
    last_good: Option<PathBuf>,
    /// One JSON line a request to this file, or to standard output (`-`).
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Record traffic (without bodies; authorization and cookies hashed), random numbers and
    /// decisions into this folder, as a case for `twinmesh conform`; until the policy changes.
    /// Written when the agent ends. Every endpoint is then chosen by request.
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// Make this share of the live decisions again, by the independent engine `spec`, and count and
    /// log what differs. Traffic never waits for it: what it has no time for is skipped and counted.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    shadow: f64,
    /// Save differences that --shadow finds into this folder, each cause once, at most 100, as cases
    /// for `twinmesh conform`.
    #[arg(long, value_name = "FOLDER")]
    shadow_cases: Option<PathBuf>,
    /// The admin endpoints' address; it has to be a loopback one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// Seconds that requests under way have to end after SIGTERM.
    #[arg(long, value_name = "N", default_value_t = 30)]
    drain_seconds: u64,
    /// Threads that carry traffic; by default one a processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// What the kernel does: `auto` routes in it what this machine can, `off` nothing; with
    /// `required` the agent does not start where it cannot.
    #[arg(long, value_name = "MODE", default_value = "auto")]
    kernel: KernelMode,
    /// Connections of the processes in this cgroup (v2) are taken; by default of all.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Where the agent takes the connections that the kernel sends it: an address that the
    /// cgroup's processes reach. Twice for both families; port 0: any.
    #[arg(long, value_name = "IP:PORT", default_values = ["127.0.0.1:0", "[::1]:0"])]
    redirect: Vec<SocketAddr>,
    /// MiB of compiled policy that the kernel has room for, twice; a larger policy goes through the
    /// proxy alone. 16 hold some 40,000 routes.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=256))]
    kernel_policy: u64,
    /// Balance each request, also where nothing of it decides its route. Without this the kernel
    /// chooses the endpoint of such connections when they are made, and they go straight there.
    #[arg(long)]
    balance_requests: bool,
    /// Keep what the kernel carries when this process ends otherwise than by SIGTERM: the next agent
    /// with --keep goes on with it. SIGUSR1 hands over in good order.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    kept: KeepArguments,
    /// Log levels: error, warn, info, debug, trace, or `target=level,…`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
    /// The form of log lines on standard error.
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| format!("expected a number from 0 to 100, found `{text}`"))
}

/// Why the command ends.
enum Ended {
    /// The call is wrong.
    Call(String),
    /// It could not go on.
    Failed(String),
}

/// Runs the command.
pub fn main(cli: Cli) -> ExitCode {
    let ended = match cli.command {
        Command::Run(arguments) => start(*arguments),
        Command::Check(arguments) => return check(&arguments),
        Command::Detach(arguments) => detach(arguments),
        Command::Hold(arguments) => {
            holder::run(&arguments.socket, arguments.with_agent).map_err(Ended::Failed)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Call(message)) => {
            eprintln!("twinmesh-agent: {message}");
            ExitCode::from(2)
        }
        Err(Ended::Failed(message)) => {
            eprintln!("twinmesh-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what each path came to.
fn check(arguments: &CheckArguments) -> ExitCode {
    let probed = match (cgroup::own(), cgroup::root()) {
        (Ok(own), Ok(root)) => probe(&own, &root),
        (Err(why), _) | (_, Err(why)) => vec![Probed {
            path: "attach",
            outcome: Err(why),
        }],
    };
    let mut all = true;
    for Probed { path, outcome } in &probed {
        let (works, what) = match outcome {
            Ok(seen) => (true, seen),
            Err(why) => (false, why),
        };
        all &= works;
        if arguments.json {
            println!("{}", json!({"path": path, "works": works, "what": what}));
        } else {
            let verdict = if works { "works" } else { "does not work" };
            println!("{path:12}  {verdict:13}  {what}");
        }
    }
    if !all && !arguments.json {
        println!("what does not work in the kernel goes through the proxy");
    }
    ExitCode::from(u8::from(!all))
}

/// Removes what was left, and says what.
fn detach(arguments: KeepArguments) -> Result<(), Ended> {
    let removed = keep::detach::detach(&arguments.options()).map_err(Ended::Failed)?;
    if removed == keep::detach::Removed::default() {
        println!("nothing was left");
    }
    for folder in &removed.pins {
        println!("removed {}", folder.display());
    }
    if removed.holder {
        println!("ended the holder, and the connections that it held");
    }
    Ok(())
}

impl KeepArguments {
    fn options(self) -> KeepOptions {
        KeepOptions {
            folder: self.keep_folder,
            pins: self.pins,
        }
    }
}

fn start(arguments: RunArguments) -> Result<(), Ended> {
    let without_source = arguments.snapshot.is_none() && arguments.bootstrap.is_none();
    let policy = match arguments.snapshot {
        Some(path) => PolicyOptions::File(path),
        None => PolicyOptions::Ads(AdsOptions {
            bootstrap: arguments.bootstrap,
            delta: arguments.delta,
            last_good: arguments.last_good,
        }),
    };
    if !arguments.admin.ip().is_loopback() {
        return Err(Ended::Call(format!(
            "--admin: expected a loopback address, found {}: what the admin endpoints tell and change is for this node only",
            arguments.admin
        )));
    }
    if arguments.shadow_cases.is_some() && arguments.shadow == 0.0 {
        return Err(Ended::Call(
            "--shadow-cases: expected --shadow above 0 beside it, found 0: there would be no differences to save"
                .to_owned(),
        ));
    }
    let levels = logging::start(&arguments.log, arguments.log_format)
        .map_err(|error| Ended::Call(format!("--log: {error}")))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("proxy");
    if let Some(workers) = arguments.workers {
        builder.worker_threads(usize::from(workers));
    }
    let runtime = builder
        .build()
        .map_err(|error| Ended::Failed(format!("the threads do not start: {error}")))?;
    let options = Options {
        policy,
        access_log: arguments.access_log,
        record: arguments.record,
        shadow: shadow::Options {
            share: shadow::share_of(arguments.shadow),
            cases: arguments.shadow_cases,
        },
        admin: Some(arguments.admin),
        drain: Duration::from_secs(arguments.drain_seconds),
        levels: Some(levels),
        kernel: KernelOptions {
            mode: arguments.kernel,
            cgroup: arguments.cgroup,
            redirect: arguments.redirect,
            connect_time: !arguments.balance_requests,
            keep: arguments.keep,
            kept: arguments.kept.options(),
            sizes: Sizes {
                policy: Capacity {
                    policy_bytes: (arguments.kernel_policy << 20).next_power_of_two(),
                    ..Capacity::LEAST
                },
                ..Sizes::default()
            },
        },
    };
    runtime
        .block_on(run::until_signal(options))
        .map_err(|error| match error {
            run::Error::Snapshot(error) => Ended::Call(error.to_string()),
            run::Error::Bootstrap(error) if without_source => {
                Ended::Call(format!("{error}; or give --snapshot FILE"))
            }
            run::Error::Bootstrap(error) => Ended::Call(error.to_string()),
            run::Error::Policy(error) => Ended::Call(error.to_string()),
            run::Error::Failed(message) => Ended::Failed(message),
        })
}
