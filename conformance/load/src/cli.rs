//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};
use tokio::net::TcpListener;

use crate::backend::{Backend, Wrong};
use crate::client::expected::{Expected, Pinned};
use crate::client::share::Share;
use crate::client::variety::{Feature, Variety};
use crate::client::{self, Load, Until};

const EXIT_CODES: &str = "Exit codes:
  0  every response was right
  1  a response was wrong, lost, mixed or repeated, or the shares are not the weights'
  2  the call is wrong, or an address cannot be had";

/// Loads an HTTP/1.1 server and checks every byte of every response.
#[derive(Debug, Parser)]
#[command(name = "twinmesh-load", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers requests as their query asks, so that `run` can check the responses.
    Backend(BackendArguments),
    /// Sends requests and checks the responses of a `backend`.
    #[command(after_help = EXIT_CODES)]
    Run(RunArguments),
}

#[derive(Debug, Args)]
struct BackendArguments {
    /// Where it listens; port 0: any. The address is printed on standard output.
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// What it calls itself in responses.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Does this wrong in every tenth response: a test of the checker.
    #[arg(long, value_name = "WHAT")]
    wrong: Option<Wrong>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("until").required(true))]
struct RunArguments {
    /// Where to; a path without a query.
    #[arg(long, value_name = "http://IP:PORT/PATH")]
    url: String,
    /// The host header; by default the URL's.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536))]
    connections: u32,
    /// Ends after so many requests.
    #[arg(long, value_name = "N", group = "until")]
    requests: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long, value_name = "S", group = "until")]
    seconds: Option<u64>,
    /// Some requests have this header, and this backend has to answer them.
    #[arg(long, value_name = "'name: value'=BACKEND")]
    header: Vec<Pinned>,
    /// A backend of the requests without such a header, with its weight; where all weights are 0,
    /// any of them at any share; by default any backend.
    #[arg(long, value_name = "BACKEND=WEIGHT")]
    share: Vec<Share>,
    /// Every request has one of the headers.
    #[arg(long, requires = "header", conflicts_with = "share")]
    always: bool,
    /// Bytes of each response's body.
    #[arg(long, value_name = "N", default_value_t = 200, conflicts_with = "mix")]
    bytes: u64,
    /// Draws methods, sizes, framing, pipelining, pauses and ends from the seed; by default all of
    /// it.
    #[arg(long, value_name = "WHAT,…", num_args = 0.., value_delimiter = ',')]
    mix: Option<Vec<Feature>>,
    /// What is drawn follows from it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Seconds that a response may take.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Answers that did not come are no fault, if the client was told: connections that end, 502,
    /// 503, 504. For runs in which backends are killed.
    #[arg(long)]
    losses: bool,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err("expected letters, digits, '-', '_' and '.'".to_owned());
    }
    Ok(text.to_owned())
}

/// Runs the command.
pub fn main(cli: Cli) -> ExitCode {
    let ended = match cli.command {
        Command::Backend(arguments) => serve(&arguments),
        Command::Run(arguments) => run(arguments),
    };
    ended.unwrap_or_else(|message| {
        eprintln!("twinmesh-load: {message}");
        ExitCode::from(2)
    })
}

fn runtime(workers: u16) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let builder = builder.worker_threads(usize::from(workers)).enable_all();
    builder
        .build()
        .map_err(|error| format!("the threads do not start: {error}"))
}

fn serve(arguments: &BackendArguments) -> Result<ExitCode, String> {
    runtime(arguments.workers)?.block_on(async {
        let failed = |error| format!("--listen {}: {error}", arguments.listen);
        let listener = TcpListener::bind(arguments.listen).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let mut out = std::io::stdout();
        let told = writeln!(out, "{local}").and_then(|()| out.flush());
        told.map_err(|error| format!("standard output: {error}"))?;
        Backend::new(&arguments.name, arguments.wrong)
            .serve(listener)
            .await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Address, authority and path.
fn read_url(url: &str) -> Result<(SocketAddr, String, String), String> {
    let wrong = |what: &str| format!("--url: expected http://IP:PORT/PATH, found {url:?}: {what}");
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| wrong("no http://"))?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if path
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || b"?#".contains(&byte))
    {
        return Err(wrong("a path of visible ASCII without '?' and '#'"));
    }
    let address = authority
        .parse()
        .or_else(|_| authority.parse().map(|ip| SocketAddr::new(ip, 80)))
        .map_err(|_| wrong("no IP address, or no port"))?;
    Ok((address, authority.to_owned(), path.to_owned()))
}

fn run(arguments: RunArguments) -> Result<ExitCode, String> {
    let (address, authority, path) = read_url(&arguments.url)?;
    let until = match (arguments.requests, arguments.seconds) {
        (Some(requests), _) => Until::Requests(requests),
        (None, seconds) => Until::Elapsed(Duration::from_secs(seconds.unwrap_or(10))),
    };
    let load = Load {
        address,
        authority: arguments.host.unwrap_or(authority),
        path,
        connections: arguments.connections as usize,
        until,
        expected: Expected {
            pinned: arguments.header,
            shares: arguments.share,
            always_pinned: arguments.always,
        },
        bytes: arguments.bytes,
        variety: Variety::of(arguments.mix.as_deref().unwrap_or_default()),
        mix: arguments.mix.is_some(),
        seed: arguments.seed,
        timeout: Duration::from_secs(arguments.timeout),
    };
    let report = runtime(arguments.workers)?.block_on(client::run(load));
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    Ok(if report.is_right(arguments.losses) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
