//! The command line.

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::{Failure, Status};
use crate::output::Style;
use crate::{
    check, completions, conform, convert, coverage, diff, explain, fuzz, generate, interrupt,
    kmesh, man, output, replay, router_check,
};

/// Decides HTTP requests as an Envoy with a given configuration does, offline.
///
/// Every command takes a snapshot: Envoy's /config_dump (with or without include_eds), the output
/// of `istioctl proxy-config all -o json`, a static bootstrap (JSON or YAML), DiscoveryResponses
/// (JSON or binary), or a bare RouteConfiguration (JSON or YAML).
#[derive(Debug, Parser)]
#[command(name = "twinmesh", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    /// Colours: `auto` uses them on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all agree, 1 divergence, 2 the input or the call is wrong; diff: 3 not everything could be compared.";

/// Each command's arguments say what it does.
#[derive(Debug, Subcommand)]
enum Command {
    Replay(replay::Arguments),
    Explain(Box<explain::Arguments>),
    Conform(conform::Arguments),
    Check(check::Arguments),
    Fuzz(fuzz::Arguments),
    Generate(generate::Arguments),
    Coverage(coverage::Arguments),
    Diff(diff::Arguments),
    Convert(convert::Arguments),
    RouterCheck(router_check::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    Kmesh(kmesh::Arguments),
}

/// The command with all its arguments, as it is called.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let matches = Cli::command().color(color_asked()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output, everything else to standard error.
            let written = error.print();
            return if error.use_stderr() || written.is_err() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match execute(cli) {
        Ok(Status::Agreement) => ExitCode::SUCCESS,
        Ok(Status::Divergence) => ExitCode::from(1),
        Ok(Status::Partial) => ExitCode::from(3),
        Err(Failure(message)) => {
            output::note(format!("error: {message}"));
            ExitCode::from(2)
        }
    }
}

fn execute(cli: Cli) -> Result<Status, Failure> {
    interrupt::install()?;
    let style = Style::new(cli.color);
    match cli.command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments, style),
        Command::Conform(arguments) => conform::run(&arguments, style),
        Command::Check(arguments) => check::run(&arguments, style),
        Command::Fuzz(arguments) => fuzz::run(&arguments, style),
        Command::Generate(arguments) => generate::run(&arguments, style),
        Command::Coverage(arguments) => coverage::run(&arguments, style),
        Command::Diff(arguments) => diff::run(&arguments, style),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::RouterCheck(arguments) => router_check::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Kmesh(arguments) => kmesh::run(&arguments, style),
    }
}

/// The colours of clap's own messages are set before it reads the arguments.
fn color_asked() -> ColorChoice {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let joined = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--color="));
    let separate = arguments
        .iter()
        .zip(arguments.iter().skip(1))
        .find(|(argument, _)| *argument == "--color")
        .map(|(_, value)| value.as_str());
    match joined.or(separate) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}
