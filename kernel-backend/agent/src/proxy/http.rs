//! Requests through an HTTP connection manager: decided one by one, forwarded as a stream.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use twinmesh_engine::{Outcome, Request as Seen};

use super::body::{EndpointBody, Progress, RequestBody, ResponseBody};
use super::finish::Finish;
use super::reply::{Reply, reset};
use super::upstream::{Failure, Settings, Upstream};
use super::watch::{Expired, Watch};
use super::{Session, headers, upgrade};
use crate::access_log::Record;
use crate::live::Decided;
use crate::plan::{ChainKind, Place, Transport};

/// Why a request gets no response at all: the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Abort(&'static str);

/// Answers one request.
pub async fn handle(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Abort> {
    let shared = &session.shared;
    let head = session.request_started();
    let (mut parts, incoming) = request.into_parts();
    let seen = match &head {
        Some(head) => headers::seen(&mut parts, head, &session.info),
        // After an upgrade that came to nothing, which is the last request of its connection.
        None => Err("the request is not followed"),
    };
    let mut seen = match seen {
        Ok(seen) => seen,
        Err(reason) => {
            let mut record = Record::new(&session.info, &headers::connection(&session.info));
            record.outcome = Outcome::BadRequest;
            record.reason = Some(reason.to_owned());
            let finish = Finish::new(Arc::clone(shared), record, Some(session.mark()));
            let reply = Reply::text(400, "Bad Request").and_close();
            return respond(&session, reply.into_response(finish)).await;
        }
    };
    let mut record = Record::new(&session.info, &seen);
    if parts.version != Version::HTTP_11 {
        if !session.manager.accept_http_10 {
            record.outcome = Outcome::BadRequest;
            record.reason = Some("the version is not HTTP/1.1".to_owned());
            let finish = Finish::new(Arc::clone(shared), record, Some(session.mark()));
            let reply = Reply::text(426, "Upgrade Required").and_close();
            return respond(&session, reply.into_response(finish)).await;
        }
        if seen.authority.is_none() && !session.manager.default_host.is_empty() {
            seen.authority = Some(session.manager.default_host.clone());
            if let Ok(host) = HeaderValue::try_from(session.manager.default_host.as_str()) {
                parts.headers.insert(header::HOST, host);
            }
        }
    }
    let wanted = headers::upgrade(&parts.headers);
    let handed = session
        .hooks
        .as_ref()
        .and_then(|hooks| hooks.decision(&seen));
    let decided = match handed {
        Some(decided) => Ok(decided),
        None => shared.live.decide(&seen, rand::random()),
    };
    let mut decided = match decided {
        Ok(decided) => decided,
        Err(error) => {
            record.outcome = Outcome::Unsupported;
            record.reason = Some(error.message.clone());
            let finish = Finish::new(Arc::clone(shared), record, Some(session.mark()));
            let reply = Reply::text(503, error.message).and_close();
            return respond(&session, reply.into_response(finish)).await;
        }
    };
    record.decided(&decided);
    let mut finish = Finish::new(Arc::clone(shared), record, Some(session.mark()));
    finish.hold(decided.hold.take());
    finish.set_grpc(headers::is_grpc(&parts.headers));
    let policy = Arc::clone(&decided.policy);
    let place = policy.plan.place(&decided.answer.trace);
    let request = Request::from_parts(parts, incoming);
    match check(&session, &decided, &place, &request, wanted.as_deref()) {
        Err(reply) => {
            if decided.answer.decision.outcome == Outcome::Forward {
                finish.reason(String::from_utf8_lossy(&reply.body).into_owned());
            }
            respond(&session, reply.into_response(finish)).await
        }
        Ok(target) => {
            let forward = Forward {
                session: &session,
                decided: &decided,
                place: &place,
                seen: &seen,
                target,
                upgrades: wanted.is_some(),
            };
            let response = forward.run(request, finish).await?;
            respond(&session, response).await
        }
    }
}

/// Lets whoever handed the connection over say when.
async fn respond(
    session: &Session,
    response: Response<ResponseBody>,
) -> Result<Response<ResponseBody>, Abort> {
    if let Some(hooks) = &session.hooks {
        hooks.ready_to_respond().await;
    }
    Ok(response)
}

/// Where a request is to be sent.
struct Target {
    address: SocketAddr,
    settings: Settings,
}

/// What stands between a decision and its endpoint: local replies, upgrades that are not allowed,
/// transports that the proxy does not have.
fn check(
    session: &Session,
    decided: &Decided,
    place: &Place<'_>,
    request: &Request<Incoming>,
    upgrade: Option<&str>,
) -> Result<Target, Reply> {
    let decision = &decided.answer.decision;
    if request.method() == Method::CONNECT && !decided.policy.plan.connect {
        // It matches routes with a connect_matcher only.
        return Err(Reply::text(404, "").and_close());
    }
    // Without a route there is nothing to allow or refuse.
    let is_routed = !matches!(decision.outcome, Outcome::NoVirtualHost | Outcome::NoRoute);
    if let Some(kind) = upgrade.filter(|_| is_routed) {
        let manager = match place.chain.map(|chain| &chain.kind) {
            Some(ChainKind::Http(manager)) => manager,
            _ => &session.manager,
        };
        let by_route = place.route.and_then(|route| route.upgrade(kind));
        if !by_route.unwrap_or_else(|| manager.upgrade(kind)) {
            return Err(Reply::text(403, "").and_close());
        }
    }
    if decision.outcome != Outcome::Forward {
        let answer = place.route.map(|route| &route.answer);
        return Err(Reply::to_decision(decision, &decided.answer.trace, answer));
    }
    let impossible = |reason: &str| Reply::text(503, reason);
    let ends_posts = place.route.is_some_and(|route| route.ends_posts);
    if request.method() == Method::CONNECT || ends_posts && request.method() == Method::POST {
        return Err(impossible("this proxy opens no tunnels").and_close());
    }
    if let Some(reason) = place.chain.and_then(|chain| chain.impossible.as_deref()) {
        return Err(impossible(reason).and_close());
    }
    let Some(cluster) = place.cluster else {
        return Err(impossible("the decision names no cluster"));
    };
    if let Err(reason) = &cluster.http {
        return Err(impossible(reason));
    }
    if cluster.transport(place.endpoint) != Transport::Plain {
        return Err(impossible(
            "transport_socket: the endpoint speaks TLS, which this proxy does not yet",
        ));
    }
    let endpoint = decision.endpoint.as_deref().unwrap_or_default();
    let Some(address) = session.shared.resolve(endpoint) else {
        return Err(impossible(&format!(
            "the endpoint {endpoint:?} is no IP address and port, which this proxy needs"
        )));
    };
    Ok(Target {
        address,
        settings: Settings {
            connect_timeout: cluster.connect_timeout,
            idle_timeout: cluster.idle_timeout,
            max_requests: cluster.max_requests,
        },
    })
}

struct Forward<'a> {
    session: &'a Arc<Session>,
    decided: &'a Decided,
    place: &'a Place<'a>,
    seen: &'a Seen,
    target: Target,
    upgrades: bool,
}

impl Forward<'_> {
    async fn run(
        self,
        mut request: Request<Incoming>,
        mut finish: Finish,
    ) -> Result<Response<ResponseBody>, Abort> {
        let downstream = self.upgrades.then(|| hyper::upgrade::on(&mut request));
        let (parts, incoming) = request.into_parts();
        let (body, progress) = if self.upgrades || incoming.is_end_stream() {
            (RequestBody::Empty, None)
        } else {
            let progress = Arc::new(Progress::default());
            let body = RequestBody::Stream(incoming, Arc::clone(&progress));
            (body, Some(progress))
        };
        let mut upstream_request = Request::from_parts(parts, body);
        if let Err(reply) = self.rewrite(&mut upstream_request) {
            return Ok(reply.into_response(finish));
        }
        let route = self.place.route;
        let idle = match route.and_then(|route| route.idle_timeout) {
            Some(idle) => idle,
            None => self.session.manager.stream_idle_timeout,
        };
        let mut watch = Watch::new(route.and_then(|route| route.timeout), idle);
        let sent = self
            .send(upstream_request, progress.as_deref(), &mut watch)
            .await;
        if let Some(progress) = &progress {
            finish.request_bytes(progress.bytes.load(Relaxed));
        }
        let (mut response, upstream) = match sent {
            Ok(sent) => sent,
            Err(Failed::Reply(reply, reason)) => {
                finish.reason(reason);
                return Ok(reply.into_response(finish));
            }
            Err(Failed::ClientGone) => {
                finish.failed("the client broke off its request");
                return Err(Abort("the client broke off its request"));
            }
        };
        finish.status(response.status().as_u16());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if let (Some(downstream), true) = (downstream, self.upgrades) {
                return Ok(upgrade::tunnel(
                    self.session,
                    response,
                    upstream,
                    downstream,
                    finish,
                ));
            }
            finish.reason("the endpoint switched protocols unasked");
            let reply = Reply::text(502, reset("protocol error"));
            return Ok(reply.into_response(finish));
        }
        headers::response_to_client(response.headers_mut(), false);
        if self.upgrades {
            // What follows on the connection could be meant for the upgrade.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        *response.version_mut() = Version::HTTP_11;
        let (parts, incoming) = response.into_parts();
        let body = EndpointBody {
            incoming,
            upstream: Some(upstream),
            watch,
            progress,
            broken: None,
        };
        Ok(Response::from_parts(
            parts,
            ResponseBody::endpoint(body, finish),
        ))
    }

    /// The request as the endpoint is to see it.
    fn rewrite(&self, request: &mut Request<RequestBody>) -> Result<(), Reply> {
        let decision = &self.decided.answer.decision;
        let path = match &decision.path {
            // A fragment, and bytes that no URI has, would be lost.
            Some(path) => PathAndQuery::try_from(path.as_str())
                .ok()
                .filter(|sent| sent.as_str() == path),
            None => request.uri().path_and_query().cloned(),
        };
        let Some(path) = path else {
            return Err(Reply::text(503, "the rewritten path cannot be sent"));
        };
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
        let authority = decision.authority.as_ref().or(self.seen.authority.as_ref());
        if let Some(authority) = authority
            && let Ok(value) = HeaderValue::try_from(authority.as_str())
        {
            match request.headers_mut().get_mut(header::HOST) {
                Some(host) => *host = value,
                None => {
                    request.headers_mut().insert(header::HOST, value);
                }
            }
        }
        headers::request_to_endpoint(request.headers_mut(), self.upgrades);
        Ok(())
    }

    /// Sends the request on a kept-alive connection or a new one. A kept-alive one that had died
    /// is no fault of the request's: where it can be sent again, it is, once, on a new one.
    async fn send(
        &self,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
        watch: &mut Watch,
    ) -> Result<(Response<Incoming>, Upstream), Failed> {
        let shared = &self.session.shared;
        let pooled = if self.upgrades {
            None
        } else {
            match shared.pool.take(self.target.address) {
                Some(pooled) => Some(pooled),
                None => {
                    let settings = self.target.settings;
                    shared.pool.take_back(self.target.address, settings).await
                }
            }
        };
        let mut request = request;
        if let Some(mut upstream) = pooled {
            let again = replayable(&request).then(|| copy(&request));
            match upstream.send(request, progress, watch).await {
                Ok(response) => return Ok((response, upstream)),
                Err((
                    Failure::Reset {
                        stale: true,
                        reason,
                    },
                    unsent,
                )) => {
                    let Some(again) = unsent.or(again) else {
                        return Err(failed(
                            Failure::Reset {
                                stale: true,
                                reason,
                            },
                            progress,
                        ));
                    };
                    request = again;
                }
                Err((failure, _)) => return Err(failed(failure, progress)),
            }
        }
        if progress.is_none() {
            watch.request_ended();
        }
        let connecting =
            shared
                .pool
                .connect(self.target.address, self.target.settings, self.upgrades);
        let mut connecting = std::pin::pin!(connecting);
        let connected = std::future::poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(connected) => Poll::Ready(Ok(connected)),
            Poll::Pending => watch.poll(cx).map(Err),
        });
        let mut upstream = match connected.await {
            Ok(connected) => connected.map_err(|error| not_connected(&error))?,
            Err(expired) => return Err(failed(Failure::Expired(expired), progress)),
        };
        watch.active();
        match upstream.send(request, progress, watch).await {
            Ok(response) => Ok((response, upstream)),
            Err((failure, _)) => Err(failed(failure, progress)),
        }
    }
}

enum Failed {
    /// What the client is told, and what the log is.
    Reply(Reply, String),
    ClientGone,
}

/// Whether a request may be sent twice: it is idempotent and has no body.
fn replayable(request: &Request<RequestBody>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent && matches!(request.body(), RequestBody::Empty)
}

fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// What Envoy says of a connection that is not made.
fn connect_failure(error: &io::Error) -> (String, String) {
    if error.kind() == io::ErrorKind::TimedOut {
        return (
            reset("connection timeout"),
            "connecting to the endpoint took too long".to_owned(),
        );
    }
    (
        reset("remote connection failure"),
        format!("connecting to the endpoint: {error}"),
    )
}

fn not_connected(error: &io::Error) -> Failed {
    let (text, reason) = connect_failure(error);
    Failed::Reply(Reply::text(503, text), reason)
}

fn failed(failure: Failure, progress: Option<&Progress>) -> Failed {
    match failure {
        Failure::Reset { reason, .. } => Failed::Reply(
            Reply::text(503, reset("connection termination")),
            format!("the endpoint's connection ended before a response: {reason}"),
        ),
        Failure::Protocol(reason) => Failed::Reply(
            Reply::text(502, reset("protocol error")),
            format!("the endpoint's response is not HTTP/1.1: {reason}"),
        ),
        Failure::Expired(Expired::Timeout) => Failed::Reply(
            Reply::text(504, "upstream request timeout"),
            "the route's timeout ran out".to_owned(),
        ),
        Failure::Expired(Expired::Idle) => Failed::Reply(
            if progress.is_none_or(|progress| progress.ended.load(Relaxed)) {
                Reply::text(504, "stream timeout")
            } else {
                Reply::text(408, "stream timeout").and_close()
            },
            "the stream's idle timeout ran out".to_owned(),
        ),
        Failure::ClientGone => Failed::ClientGone,
    }
}
