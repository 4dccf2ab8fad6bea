//! A control plane to test with: serves snapshots by ADS, follows scripts, and prints what clients
//! make of it, one JSON object a line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use twinmesh_control_plane::{ControlPlane, Script, Tls, follow};

/// Serves a snapshot by ADS (state of the world and delta), and prints what happens on its streams:
/// one JSON object a line, the first with the address that it listens on.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The snapshot, or a folder of snapshots, in any of the forms; read again when it changes.
    #[arg(required_unless_present = "script", conflicts_with = "script")]
    snapshot: Option<PathBuf>,
    /// A script to follow (TOML, or JSON where its name ends in .json).
    #[arg(long)]
    script: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:18000")]
    listen: SocketAddr,
    /// The server's certificate (PEM), for TLS.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// Who must have signed the certificates of clients (PEM).
    #[arg(long, requires = "certificate")]
    client_ca: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twinmesh-control-plane: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let tls = tls(&arguments)?;
    let script = match &arguments.script {
        Some(path) => Some(Script::read(path)?),
        None => None,
    };
    let server = ControlPlane::start(arguments.listen, tls).await?;
    let leading = async {
        if let Some(script) = script {
            script.follow(&server).await?;
            tracing::info!("the script is at its end; what is served stays");
        } else if let Some(path) = &arguments.snapshot {
            follow(path, &server).await?;
        }
        std::future::pending::<Result<(), Box<dyn std::error::Error>>>().await
    };
    tokio::select! {
        result = leading => result,
        result = print(&server) => Ok(result?),
        result = tokio::signal::ctrl_c() => Ok(result?),
    }
}

async fn print(server: &ControlPlane) -> std::io::Result<()> {
    let mut line = serde_json::json!({"listening": server.address().to_string()}).to_string();
    let mut seen = 0;
    loop {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
        drop(out);
        let events = server.events_from(seen).await;
        seen += events.len();
        let lines: Result<Vec<String>, _> = events.iter().map(serde_json::to_string).collect();
        line = lines?.join("\n");
    }
}

fn tls(arguments: &Arguments) -> Result<Option<Tls>, String> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
    };
    let (Some(certificate), Some(key)) = (&arguments.certificate, &arguments.key) else {
        return Ok(None);
    };
    Ok(Some(Tls {
        certificate: read(certificate)?,
        key: read(key)?,
        client_ca: arguments.client_ca.as_ref().map(read).transpose()?,
    }))
}
