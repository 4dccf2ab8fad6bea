//! The agent's own log: levels that can be changed while it runs, as text or JSON, to standard
//! error.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes the levels of a log that runs.
#[derive(Debug, Clone)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
}

fn parse(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| format!("log levels {directives:?}: {error}; expected a level (error, warn, info, debug, trace) or `target=level,…`"))
}

/// Starts the log.
///
/// # Errors
/// The levels are not understood, or the process has a log already.
pub fn start(directives: &str, format: LogFormat) -> Result<Levels, String> {
    let (filter, handle) = reload::Layer::new(parse(directives)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    Ok(Levels { handle })
}

impl Levels {
    /// The levels now.
    pub fn get(&self) -> String {
        self.handle
            .with_current(ToString::to_string)
            .unwrap_or_default()
    }

    /// Changes them.
    ///
    /// # Errors
    /// They are not understood.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        let filter = parse(directives)?;
        self.handle
            .reload(filter)
            .map_err(|error| error.to_string())
    }
}
