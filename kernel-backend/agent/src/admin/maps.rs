//! `/maps`: what lies in the kernel's maps, beside what the agent takes to lie there.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::{Admin, json_reply};
use crate::datapath::look;

/// Looks, and looks again at what differs.
pub(super) async fn maps(State(admin): State<Admin>) -> Response {
    let Some(splice) = admin.splice.as_ref().map(Arc::clone) else {
        let why = "nothing is routed in the kernel: there are no maps";
        return json_reply(StatusCode::NOT_FOUND, &json!({ "error": why }));
    };
    let live = admin.live.clone();
    match tokio::task::spawn_blocking(move || look::look(&splice, &live)).await {
        Ok(seen) => json_reply(StatusCode::OK, &seen),
        Err(error) => json_reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "error": error.to_string() }),
        ),
    }
}
