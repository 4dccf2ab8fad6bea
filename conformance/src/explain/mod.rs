//! `twinmesh explain`: how one request is decided, step by step.

mod told;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use twinmesh_engine::format::traffic;
use twinmesh_engine::{
    ClientCertificate, Engine as _, Replay, Request, random, request::parse_connection_end,
};
use twinmesh_spec::Spec;
use twinmesh_spec::reading::Matchers;

use self::told::Beside;
use crate::failure::{Failure, Status};
use crate::output::{Output, Style};
use crate::profile::ProfileArgument;
use crate::{engines, input, script, start};

/// Tells how one request is decided: every step, with the xDS resource and field that decided.
///
/// The request is given by flags, or named in a traffic file; the requests before it in the file
/// are decided first, so that the balancers stand where they would.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms.
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// A traffic file that has the request.
    #[arg(long, value_name = "FILE", requires = "id")]
    traffic: Option<PathBuf>,
    /// The request's id in the traffic file.
    #[arg(long, value_name = "ID", requires = "traffic")]
    id: Option<String>,
    #[command(flatten)]
    request: RequestFlags,
    /// The engine whose steps are told: spec, sim, bpf-vm, kernel or kmesh; of envoy only the decision.
    #[arg(long, value_name = "NAME", default_value = engines::REFERENCE)]
    engine: String,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What endpoints do with the requests that reach them: the attempts are told then.
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// How many of the routes that did not match are shown: the nearest, in their order; and of
    /// those that would match, but come later.
    #[arg(long, value_name = "N", default_value_t = 5)]
    routes: usize,
    /// Tells of this route, too, what of it did not match, or which route comes before it; `#N` is
    /// the one at index N of its virtual host.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
struct RequestFlags {
    /// The method.
    #[arg(long, default_value = "GET", conflicts_with = "traffic")]
    method: String,
    /// The scheme.
    #[arg(long, default_value = "http", conflicts_with = "traffic")]
    scheme: String,
    /// The host that is asked for, with its port if the client sends one.
    #[arg(long, conflicts_with = "traffic")]
    authority: Option<String>,
    /// The path, with its query.
    #[arg(long, default_value = "/", conflicts_with = "traffic")]
    path: String,
    /// A header; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "K: V", value_parser = header, conflicts_with = "traffic")]
    headers: Vec<(String, String)>,
    /// What the connection asked for, before any redirection.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_connection_end, conflicts_with = "traffic")]
    destination: Option<SocketAddr>,
    /// The connection's peer.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_connection_end, conflicts_with = "traffic")]
    source: Option<SocketAddr>,
    /// Names the listener outright.
    #[arg(long, value_name = "NAME", conflicts_with = "traffic")]
    listener: Option<String>,
    /// Names the route configuration outright.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["traffic", "listener"])]
    route_config: Option<String>,
    /// Server name of the TLS ClientHello.
    #[arg(long, value_name = "NAME", conflicts_with = "traffic")]
    sni: Option<String>,
    /// The client's ALPN list, comma-separated.
    #[arg(long, value_name = "LIST", conflicts_with = "traffic")]
    alpn: Option<String>,
    /// The connection is TLS; given with --sni or --alpn, it is anyway.
    #[arg(long, conflicts_with = "traffic")]
    tls: bool,
    /// What became of the client's certificate on a TLS connection: `presented` (and not validated)
    /// or `validated`; without it the client presented none.
    #[arg(long, value_name = "STATE", conflicts_with = "traffic", value_parser = client_certificate)]
    client_certificate: Option<ClientCertificate>,
    /// The request's random number; drawn from the seed unless given.
    #[arg(long, value_name = "N", conflicts_with = "traffic")]
    random: Option<u64>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected `name: value`")?;
    if name.eq_ignore_ascii_case("host") {
        return Err("the Host header is given by --authority".to_owned());
    }
    if text.contains(['\r', '\n']) {
        return Err("a line break cannot stand in a header".to_owned());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn client_certificate(text: &str) -> Result<ClientCertificate, String> {
    match text {
        "presented" => Ok(ClientCertificate::Presented),
        "validated" => Ok(ClientCertificate::Validated),
        _ => Err("expected `presented` or `validated`".to_owned()),
    }
}

impl RequestFlags {
    fn request(&self) -> Result<Request, Failure> {
        for (flag, text) in [
            ("--method", Some(&self.method)),
            ("--path", Some(&self.path)),
            ("--authority", self.authority.as_ref()),
        ] {
            if text.is_some_and(|text| text.contains(['\r', '\n'])) {
                return Err(Failure(format!(
                    "{flag}: a line break cannot stand in a request's head"
                )));
            }
        }
        Ok(Request {
            id: "request".to_owned(),
            method: self.method.clone(),
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            source: self.source,
            destination: self.destination,
            listener: self.listener.clone(),
            route_config: self.route_config.clone(),
            sni: self.sni.clone(),
            alpn: self.alpn.clone(),
            tls: self.tls.then_some(true),
            client_certificate: self.client_certificate,
            random: self.random,
            ..Request::default()
        })
    }
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, or standard output does not take the words.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    arguments
        .profile
        .fits(std::slice::from_ref(&arguments.engine))?;
    let mut engine = engines::make(&arguments.engine)
        .map_err(|reason| Failure(format!("engine {}: {reason}", arguments.engine)))?;
    let requests = match (&arguments.traffic, &arguments.id) {
        (Some(file), Some(id)) => {
            let mut requests = traffic::read(file)?;
            let place = requests
                .iter()
                .position(|request| request.id == *id)
                .ok_or_else(|| {
                    Failure(format!("{}: no request has the id `{id}`", file.display()))
                })?;
            requests.truncate(place + 1);
            requests
        }
        _ => vec![arguments.request.request()?],
    };
    let snapshot = Arc::new(input::snapshot(
        &arguments.snapshot,
        arguments.strict,
        arguments.profile.profile(),
    )?);
    match &arguments.traffic {
        Some(file) => start::check(file, &requests, &snapshot, None)?,
        None => {
            for request in &requests {
                start::check_one(request, &snapshot).map_err(|unclear| {
                    Failure(format!("{}: {}", unclear.field.flag(), unclear.message))
                })?;
            }
        }
    }
    let endpoints = arguments.endpoints.as_deref();
    let endpoints = endpoints.map(|file| script::read(file, &[&snapshot]));
    let endpoints = endpoints.transpose()?;
    let replay = Replay {
        seed: arguments.seed,
        trace: true,
        schedule: None,
        endpoints: endpoints.as_ref(),
    };
    let mut answer = None;
    replay.run(engine.as_mut(), &snapshot, &requests, &mut |decided| {
        if decided.index + 1 == requests.len() {
            answer = Some(decided.answer);
        }
        ControlFlow::Continue(())
    })?;
    let (Some(answer), Some(request)) = (answer, requests.last()) else {
        return Err(Failure("the engine gave no answer".to_owned()));
    };
    let mut output = Output::stdout();
    let random = request
        .random
        .unwrap_or_else(|| random::draw(arguments.seed, requests.len() as u64 - 1));
    let mut reading = Spec::new();
    reading.load(&snapshot)?;
    let beside = Beside {
        judged: reading.judged(request, random)?,
        matchers: Matchers::of(&snapshot).map_err(Failure)?,
        random,
        routes: arguments.routes,
        asked: arguments.route.as_deref(),
    };
    for line in told::explain(&snapshot, request, &answer, beside, style)? {
        output.line(line)?;
    }
    output.finish()?;
    Ok(Status::Agreement)
}
