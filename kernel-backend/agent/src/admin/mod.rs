//! The admin endpoints, over loopback HTTP.

mod explain;
mod maps;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use twinmesh_ads::Status;
use twinmesh_kernel_backend::datapath::shape::flag;

use crate::access_log::AccessLog;
use crate::datapath::Splice;
use crate::live::Live;
use crate::logging::Levels;
use crate::metrics::Metrics;
use crate::proxy::Bound;
use crate::run::Agent;

pub(crate) use explain::step;

#[derive(Clone)]
struct Admin {
    live: Live,
    bound: Bound,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    levels: Option<Levels>,
    splice: Option<Arc<Splice>>,
    /// What the kernel does: bits of [`flag`].
    kernel: u64,
    ads: Option<Arc<Status>>,
}

/// The endpoints of an agent. `levels` is what `/logging` shows and changes.
pub fn router(agent: &Agent, levels: Option<Levels>, ads: Option<Arc<Status>>) -> Router {
    let admin = Admin {
        live: agent.live.clone(),
        bound: agent.bound.clone(),
        metrics: Arc::clone(&agent.metrics),
        access_log: agent.access_log.clone(),
        levels,
        ads,
        kernel: agent.datapath.as_ref().map_or(0, |running| running.flags),
        splice: agent
            .datapath
            .as_ref()
            .map(|running| Arc::clone(&running.splice)),
    };
    Router::new()
        .route("/ready", get(ready))
        .route("/config_dump", get(config_dump))
        .route("/explain", post(explain::explain))
        .route("/logging", get(levels_now).post(change_levels))
        .route("/maps", get(maps::maps))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

fn json_reply(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, format!("{body:#}\n")).into_response()
}

fn no_policy() -> Response {
    json_reply(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({ "error": "no policy is loaded" }),
    )
}

/// 200 where a policy is in force and its listeners' connections come in: the kernel takes them, or
/// all are bound.
async fn ready(State(admin): State<Admin>) -> Response {
    let mut reasons = Vec::new();
    let policy = admin.live.current();
    if policy.is_none() {
        reasons.push("no policy is loaded".to_owned());
    }
    let sockets = admin.bound.list();
    let not_bound: Vec<String> = sockets
        .iter()
        .filter_map(|socket| {
            let error = socket.local.as_ref().err()?;
            Some(format!(
                "listener {:?}: {} is not bound: {error}",
                socket.listener, socket.wanted
            ))
        })
        .collect();
    if admin.splice.is_none() {
        reasons.extend(not_bound.iter().cloned());
    }
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let listening = sockets.iter().filter_map(|socket| {
        let local = socket.local.as_ref().ok()?;
        Some(json!({ "listener": socket.listener, "address": local.to_string() }))
    });
    let refused = admin.metrics.last_refused().clone();
    json_reply(
        status,
        &json!({
            "ready": reasons.is_empty(),
            "reasons": reasons,
            "generation": policy.map(|policy| policy.generation),
            "kernel": {
                "redirect": admin.kernel & flag::REDIRECT != 0,
                "splice": admin.kernel & flag::SPLICE != 0,
                "connect_time": admin.kernel & flag::CONNECT_TIME != 0,
            },
            "management_server": admin.ads.as_deref().map(management_server),
            "not_bound": not_bound,
            "listening": listening.collect::<Vec<_>>(),
            "last_update_refused": refused,
        }),
    )
}

/// How it stands with the management server.
fn management_server(status: &Status) -> serde_json::Value {
    json!({
        "server": status.server(),
        "connected": status.is_connected(),
        "last_nack": status.last_nack(),
        "last_failure": status.last_failure(),
    })
}

/// The snapshot in force, as Envoy's `/config_dump` writes it.
async fn config_dump(State(admin): State<Admin>) -> Response {
    let Some(policy) = admin.live.current() else {
        return no_policy();
    };
    let snapshot = Arc::clone(policy.snapshot());
    let written = tokio::task::spawn_blocking(move || twinmesh_xds::to_json(&snapshot)).await;
    match written {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn levels_now(State(admin): State<Admin>) -> Response {
    match &admin.levels {
        Some(levels) => format!("{}\n", levels.get()).into_response(),
        None => (StatusCode::NOT_FOUND, "the log is not the agent's own\n").into_response(),
    }
}

async fn change_levels(State(admin): State<Admin>, body: String) -> Response {
    let Some(levels) = &admin.levels else {
        return (StatusCode::NOT_FOUND, "the log is not the agent's own\n").into_response();
    };
    match levels.set(body.trim()) {
        Ok(()) => format!("{}\n", levels.get()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let encoded = admin.metrics.encode(
        &admin.live,
        &admin.access_log,
        admin.splice.as_deref(),
        admin.ads.as_deref(),
    );
    match encoded {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
