//! The HTTP face: metrics for Prometheus, and whether the process lives and can serve, for
//! whoever starts and balances nodes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::clients::Desk;
use crate::panics;
use crate::room::{Pages, Room};

const PAGES: &str = "/metrics  for Prometheus\n/livez    200 while the process works\n\
                     /readyz   200 while this node can serve, otherwise 503 and why not\n";

/// Serves until the runtime ends.
///
/// # Errors
/// When the listener fails for good.
pub(crate) async fn serve(
    listener: TcpListener,
    room: Room,
    desk: Arc<Desk>,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/", get(status))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn(async |request, next: Next| {
            panics::on_its_own(next.run(request)).await
        }))
        .with_state(desk);
    axum::serve(Pages { listener, room }, routes).await
}

async fn status(State(desk): State<Arc<Desk>>) -> String {
    format!("{}\n{PAGES}", desk.page().await)
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], desk.scrape().await).into_response()
}

async fn live(State(desk): State<Arc<Desk>>) -> Response {
    answer(desk.live().await)
}

async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    answer(desk.ready().await)
}

fn answer(verdict: Result<String, String>) -> Response {
    match verdict {
        Ok(text) => (StatusCode::OK, text + "\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}
