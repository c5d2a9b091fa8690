//! What the admin listener says: metrics, the shards, the effective configuration, and a list of these.

use std::time::Duration;

use serde::Serialize;

use super::{Settings, fields::fresh};
use crate::{
    app::{Request, Response},
    mesh::ShardReport,
    model::{CloseReason, HandshakeResult, Now},
    telemetry::{metrics, plain, process},
};

/// `/shards`: each shard's counters and gauges, and what the places in their lists mean.
#[derive(Serialize)]
struct ShardsPage<'a> {
    shards: &'a [&'a ShardReport],
    /// How many there are; fewer are listed when some did not answer in time.
    shards_expected: u16,
    legend: Legend,
}

/// In which format `/metrics` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    /// The text format of Prometheus.
    Plain,
    OpenMetrics,
}

#[derive(Serialize)]
pub(super) struct Legend {
    sessions: [&'static str; 4],
    closed_total: Vec<&'static str>,
    responses_total: [&'static str; 5],
    request_limits_total: [u16; 5],
    hooks_total: Vec<&'static str>,
    tls_handshakes_total: [&'static str; HandshakeResult::COUNT],
}

impl Legend {
    pub(super) fn new() -> Self {
        let closed = CloseReason::ALL.into_iter().chain([CloseReason::Application(0)]);
        Self {
            sessions: ["http", "websocket", "event_stream", "long_poll"],
            closed_total: closed.map(CloseReason::label).collect(),
            responses_total: ["1xx", "2xx", "3xx", "4xx", "5xx"],
            request_limits_total: [408, 413, 414, 417, 431],
            hooks_total: metrics::hook_labels().collect(),
            tls_handshakes_total: HandshakeResult::ALL.map(HandshakeResult::label),
        }
    }
}

pub(super) fn index() -> Response {
    Response::text(
        200,
        "/metrics  for Prometheus, one series per shard\n\
         /healthz  200 while every shard does its turns, 503 with those that do not\n\
         /readyz   200 when every shard answers, 503 from the first signal that ends the process\n\
         /shards   each shard's counters and gauges, as JSON\n\
         /dashboard  all of it live, for a browser\n\
         /auth/revoke  POST {\"user\":…} or {\"token\":…} (its jti): ends sessions, refuses tokens\n\
         /config   the effective configuration, secrets hidden, as JSON\n\
         /reload   POST: the configuration and the certificates are read again, as after SIGHUP\n\
         /upgrade  POST: the program that stands where this one stood takes its place, as after SIGUSR2\n\
         /manual/  how everything works\n",
    )
}

pub(super) fn config(settings: &Settings) -> Response {
    fresh(settings.config_json.clone().into_bytes())
}

/// What is read again, and whether it can work, the log says: it is not this shard that reads it.
pub(super) fn reloading() -> Response {
    Response::text(
        202,
        "the configuration and the certificates are read again, and a program that runs begins anew; the log tells what becomes of \
         it\n",
    )
}

/// It is the keeper that does it, one at a time.
pub(super) fn upgrading(may_begin: bool) -> Response {
    let (status, text) = match may_begin {
        true => {
            (202, "the keeper, if there is one, starts the new version; the log tells what becomes of it\n")
        }
        false => (409, "an upgrade is under way: wait until it has ended, and ask again\n"),
    };
    Response::text(status, text)
}

/// A page on somebody's screen has no business here, though a browser would let it post.
pub(super) fn no_page() -> Response {
    Response::text(403, "web pages may have neither the configuration read again nor the server upgraded\n")
}

pub(super) fn shards_response(reports: &[&ShardReport], shards_expected: u16) -> Response {
    let page = ShardsPage { shards: reports, shards_expected, legend: Legend::new() };
    fresh(simd_json::to_vec(&page).expect("the page holds only what JSON can say"))
}

impl MetricsFormat {
    /// What a scraper asks for: a browser and curl do not say, and are shown what all read.
    pub(super) fn wanted(request: &Request<'_>) -> Self {
        let names_it =
            |accept: &[u8]| memchr::memmem::find(accept, b"application/openmetrics-text").is_some();
        if request.header("accept").is_some_and(names_it) { Self::OpenMetrics } else { Self::Plain }
    }
}

/// `/metrics`; the one place that asks for the text.
pub(super) fn metrics_response(reports: &[&ShardReport], now: Now, format: MetricsFormat) -> Response {
    let process = match process::read(Duration::from_millis(now.monotonic_ms)) {
        Ok(process) => process,
        Err(error) => return Response::text(500, format!("/proc/self cannot be read: {error}\n")),
    };
    let reports: Vec<ShardReport> = reports.iter().map(|report| (*report).clone()).collect();
    let openmetrics = metrics::encode(&reports, &process);
    let (text, content_type) = match format {
        MetricsFormat::OpenMetrics => (openmetrics, metrics::CONTENT_TYPE),
        MetricsFormat::Plain => (plain::plain(&openmetrics), plain::CONTENT_TYPE),
    };
    let mut response = Response::text(200, text).with_field("Vary", "Accept");
    response.content_type = content_type.into();
    response
}
