//! Serves `/metrics` to Prometheus.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tokio::sync::oneshot;

use super::Metrics;
use crate::{
    exit::Failure,
    listen::{BoundedListener, bind},
};

/// A running server; it stops when dropped.
pub struct MetricsServer {
    /// Where it listens.
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// Starts to serve on the current tokio runtime; when this returns, it listens.
///
/// At most `connections_max` connections; further ones wait in the system's queue.
///
/// Errors: the address cannot be listened on, with the setting's name.
pub async fn serve(
    metrics: Arc<Metrics>,
    address: SocketAddr,
    connections_max: usize,
) -> Result<MetricsServer, Failure> {
    let listener = bind("instrumentation.prometheus_listen_addr", address)?;
    let address = listener.local_addr().map_err(Failure::config)?;
    let listener = BoundedListener::new(listener, connections_max)?;
    let router = Router::new().route("/metrics", get(text)).with_state(metrics);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let server = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await; // the sender is dropped: stop
        });
        if let Err(error) = server.await {
            tracing::warn!(target: "metrics", reason = %error, "the metrics server ended");
        }
    });
    Ok(MetricsServer { address, _stop: stop })
}

async fn text(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    // Collecting reads the sizes of the database's files; it is no work for a thread of the network.
    let text = tokio::task::spawn_blocking(move || metrics.text()).await.unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
