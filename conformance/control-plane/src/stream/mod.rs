//! One ADS stream, as the server has it: what both variants of the protocol share.

mod delta;
mod state_of_the_world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::{broadcast, mpsc, watch};
use tonic::Status;
use twinmesh_ads::Kind;

pub(crate) use delta::Delta;
pub(crate) use state_of_the_world::StateOfTheWorld;

use crate::behaviour::{Behaviour, Command, Nonce, Poison};
use crate::event::{Event, Log, What};
use crate::served::Served;

/// Responses that wait for the client to read them.
const OUTGOING: usize = 16;

/// What all streams serve, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) served: Arc<Served>,
    pub(crate) behaviour: Arc<Behaviour>,
}

/// One variant of the protocol.
pub(crate) trait Protocol: Default + Send + 'static {
    type Request: Send + 'static;
    type Response: Clone + Send + 'static;

    /// Takes a request; gives the types to send now.
    fn receive(&mut self, request: Self::Request, served: &Served, about: &mut About) -> Vec<Kind>;

    /// Whether a type was asked for.
    fn is_subscribed(&self, kind: Kind) -> bool;

    /// The response that tells what has changed; `force`: also where nothing has. Removals of what
    /// others may still name are told in a last round of their own.
    fn respond(
        &mut self,
        kind: Kind,
        state: &State,
        round: &Round,
        nonce: String,
    ) -> Option<Self::Response>;

    /// Forgets what was told of a type, so that it is told again.
    fn forget(&mut self, kind: Kind);

    /// A response of a type that nobody asked for.
    fn unsolicited(type_url: &str, nonce: String) -> Self::Response;

    /// What a response says, for the log.
    fn describe(response: &Self::Response, event: &mut Event);
}

/// Why a response is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// Also if nothing has changed.
    pub(crate) force: bool,
    /// What is new or has changed is told.
    pub(crate) news: bool,
    /// What is gone is told.
    pub(crate) removals: bool,
}

impl Round {
    /// Everything, as an answer to a request.
    const ALL: Round = Round {
        force: true,
        news: true,
        removals: true,
    };
}

/// Who is at the other end.
pub(crate) struct About {
    stream: u64,
    client: String,
    log: Log,
}

impl About {
    fn event(&self, event: What, r#type: &str) -> Event {
        Event {
            time_ms: 0,
            stream: self.stream,
            client: self.client.clone(),
            event,
            r#type: r#type.to_owned(),
            version: String::new(),
            nonce: String::new(),
            error: String::new(),
            names: Vec::new(),
            removed: Vec::new(),
        }
    }
}

/// Everything a stream needs.
pub(crate) struct Context {
    pub(crate) stream: u64,
    pub(crate) log: Log,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) commands: broadcast::Receiver<Command>,
}

/// Serves a stream until it ends; gives what goes to the client.
pub(crate) fn serve<P: Protocol>(
    requests: impl Stream<Item = Result<P::Request, Status>> + Send + Unpin + 'static,
    context: Context,
) -> mpsc::Receiver<Result<P::Response, Status>> {
    let (sender, receiver) = mpsc::channel(OUTGOING);
    let (due, dues) = mpsc::unbounded_channel();
    let session = Session::<P> {
        protocol: P::default(),
        about: About {
            stream: context.stream,
            client: String::new(),
            log: context.log,
        },
        sender,
        due,
        sent: 0,
        greeted: false,
    };
    tokio::spawn(session.run(requests, context.state, context.commands, dues));
    receiver
}

struct Session<P: Protocol> {
    protocol: P,
    about: About,
    sender: mpsc::Sender<Result<P::Response, Status>>,
    /// Types whose delay is over.
    due: mpsc::UnboundedSender<(Kind, Round)>,
    sent: u32,
    greeted: bool,
}

/// The stream is over, and why.
struct Over(String);

impl<P: Protocol> Session<P> {
    async fn run(
        mut self,
        requests: impl Stream<Item = Result<P::Request, Status>> + Send + Unpin + 'static,
        state: watch::Receiver<State>,
        commands: broadcast::Receiver<Command>,
        dues: mpsc::UnboundedReceiver<(Kind, Round)>,
    ) {
        self.about.log.add(self.about.event(What::Open, ""));
        let Over(error) = self.work(requests, state, commands, dues).await;
        let event = Event {
            error,
            ..self.about.event(What::Close, "")
        };
        self.about.log.add(event);
    }

    async fn work(
        &mut self,
        mut requests: impl Stream<Item = Result<P::Request, Status>> + Send + Unpin + 'static,
        mut state: watch::Receiver<State>,
        mut commands: broadcast::Receiver<Command>,
        mut dues: mpsc::UnboundedReceiver<(Kind, Round)>,
    ) -> Over {
        loop {
            let result = tokio::select! {
                request = requests.next() => match request {
                    Some(Ok(request)) => {
                        let now = state.borrow().clone();
                        self.receive(request, &now).await
                    }
                    Some(Err(status)) => Err(Over(status.to_string())),
                    None => Err(Over("the client has ended it".to_owned())),
                },
                changed = state.changed() => match changed {
                    Ok(()) => {
                        let now = state.borrow_and_update().clone();
                        self.push(&now).await
                    }
                    Err(_) => Err(Over("the server ends".to_owned())),
                },
                Some((kind, round)) = dues.recv() => {
                    let now = state.borrow().clone();
                    self.send_now(kind, &now, round).await
                }
                Ok(command) = commands.recv() => {
                    let now = state.borrow().clone();
                    self.obey(command, &now).await
                }
            };
            if let Err(over) = result {
                return over;
            }
        }
    }

    async fn receive(&mut self, request: P::Request, state: &State) -> Result<(), Over> {
        if !std::mem::replace(&mut self.greeted, true)
            && let Some(kind) = state.behaviour.early
        {
            let nonce = self.nonce(&state.behaviour);
            let response = P::unsolicited(kind.type_url(), nonce);
            self.put(response, state).await?;
        }
        let kinds = self
            .protocol
            .receive(request, &state.served, &mut self.about);
        for kind in kinds {
            self.send(kind, state, Round::ALL).await?;
        }
        Ok(())
    }

    /// Tells what is new: clusters, endpoints, listeners, routes; then which clusters and endpoints
    /// are gone. A listener that is gone is told with those that are new: they may take its address.
    async fn push(&mut self, state: &State) -> Result<(), Over> {
        let mut kinds = Kind::ALL;
        if state.behaviour.reverse {
            kinds.reverse();
        }
        for removals in [false, true] {
            for kind in kinds {
                if self.protocol.is_subscribed(kind) {
                    let needed = matches!(kind, Kind::Cluster | Kind::LoadAssignment);
                    let round = Round {
                        force: false,
                        news: !removals,
                        removals: removals || !needed,
                    };
                    self.send(kind, state, round).await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, kind: Kind, state: &State, round: Round) -> Result<(), Over> {
        if let Some(delay) = state.behaviour.delay.get(&kind).copied() {
            let due = self.due.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // The stream may have ended meanwhile.
                let _ = due.send((kind, round));
            });
            return Ok(());
        }
        self.send_now(kind, state, round).await
    }

    async fn send_now(&mut self, kind: Kind, state: &State, round: Round) -> Result<(), Over> {
        if state.behaviour.silent.contains(&kind) {
            return Ok(());
        }
        let nonce = self.nonce(&state.behaviour);
        match self.protocol.respond(kind, state, &round, nonce) {
            Some(response) => self.put(response, state).await,
            None => Ok(()),
        }
    }

    async fn put(&mut self, response: P::Response, state: &State) -> Result<(), Over> {
        for _ in 0..state.behaviour.copies() {
            let mut event = self.about.event(What::Sent, "");
            P::describe(&response, &mut event);
            self.about.log.add(event);
            let sent = self.sender.send(Ok(response.clone())).await;
            sent.map_err(|_| Over("the client has gone".to_owned()))?;
        }
        self.sent += 1;
        match state.behaviour.close_after {
            Some(count) if self.sent >= count => self.close().await,
            _ => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), Over> {
        let status = Status::unavailable("closed on purpose");
        // Where the client has gone, it is closed already.
        let _ = self.sender.send(Err(status)).await;
        Err(Over("closed on purpose".to_owned()))
    }

    async fn obey(&mut self, command: Command, state: &State) -> Result<(), Over> {
        match command {
            Command::Close => self.close().await,
            Command::Repeat(kind, times) => {
                if self.protocol.is_subscribed(kind) {
                    for _ in 0..times {
                        self.protocol.forget(kind);
                        self.send_now(kind, state, Round::ALL).await?;
                    }
                }
                Ok(())
            }
            Command::Unsolicited(type_url) => {
                let nonce = self.nonce(&state.behaviour);
                self.put(P::unsolicited(&type_url, nonce), state).await
            }
        }
    }

    fn nonce(&self, behaviour: &Behaviour) -> String {
        match behaviour.nonce {
            Nonce::Fresh => format!("{}-{}", self.about.stream, self.sent + 1),
            Nonce::Empty => String::new(),
            Nonce::Repeated => "always the same".to_owned(),
        }
    }
}

/// What stands in events for a type.
fn type_text(type_url: &str) -> String {
    match Kind::of_type_url(type_url) {
        Some(kind) => kind.service().to_owned(),
        None => type_url.to_owned(),
    }
}

/// By nonce, the responses that are still to be answered.
#[derive(Debug, Default)]
struct Open(BTreeMap<String, (u32, String)>);

impl Open {
    /// A response was sent, so many times.
    fn add(&mut self, nonce: &str, version: &str, copies: u32) {
        let (count, last) = self.0.entry(nonce.to_owned()).or_default();
        *count += copies;
        version.clone_into(last);
    }

    /// The version of the response that a nonce answers; `None` where there is none to answer.
    fn answered(&mut self, nonce: &str) -> Option<String> {
        let (count, version) = self.0.get_mut(nonce)?;
        *count -= 1;
        let version = version.clone();
        if *count == 0 {
            self.0.remove(nonce);
        }
        Some(version)
    }
}

/// The names that a subscription selects.
fn selects(names: &Option<BTreeSet<String>>, name: &str) -> bool {
    match names {
        None => true,
        Some(names) => names.contains(name) || names.contains("*"),
    }
}

/// The resource that poisons a response; `first` is the response's first one.
fn poisoned(kind: Kind, poison: Poison, first: Option<(String, Any)>) -> Option<(String, Any)> {
    use envoy_types::pb::envoy::config::{
        cluster::v3::Cluster,
        endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
        listener::v3::Listener,
        route::v3::{RouteConfiguration, VirtualHost},
    };
    // Only what a client asked for reaches its validation: the first resource is turned into a bad
    // one under its own name.
    let name = first.as_ref().map_or("poison", |(name, _)| name).to_owned();
    let any = |value: Vec<u8>| Any {
        type_url: kind.type_url().to_owned(),
        value,
    };
    let named = |name: &str| match kind {
        Kind::Cluster => Cluster {
            name: name.to_owned(),
            lb_policy: 99,
            ..Cluster::default()
        }
        .encode_to_vec(),
        Kind::LoadAssignment => ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                priority: 129,
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }
        .encode_to_vec(),
        Kind::Listener => Listener {
            name: name.to_owned(),
            ..Listener::default()
        }
        .encode_to_vec(),
        Kind::RouteConfiguration => RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts: vec![VirtualHost::default()],
            ..RouteConfiguration::default()
        }
        .encode_to_vec(),
    };
    let bad = match poison {
        Poison::Garbage => any(vec![0xff, 0xff, 0xff]),
        Poison::Constraint => any(named(&name)),
        Poison::OtherType => Any {
            type_url: "type.googleapis.com/envoy.config.core.v3.Node".to_owned(),
            value: Vec::new(),
        },
        Poison::Twice => return first,
        Poison::Nameless => any(named("")),
    };
    Some((name, bad))
}
