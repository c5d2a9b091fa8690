//! The demo page and the figures it shows.

use serde::Serialize;

use super::channels;
use crate::{
    app::{Body, Response},
    mesh::ShardReport,
};

/// The page, whole: style and script stand inside it, so that it needs no other request and no build.
const PAGE: &str = concat!(
    include_str!("demo/head.html"),
    "<style>",
    include_str!("demo/demo.css"),
    "</style>",
    include_str!("demo/body.html"),
    "<script>",
    include_str!("demo/demo.js"),
    "</script>\n",
);

/// What the page may load and talk to: itself and this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' \
                      ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Serialize)]
struct Stats {
    connections: u64,
    shards: usize,
    publications: u64,
    deliveries: u64,
}

pub(super) fn page() -> Response {
    let mut response = Response::empty(200)
        .with_field("Content-Security-Policy", POLICY)
        .with_field("X-Content-Type-Options", "nosniff");
    response.content_type = "text/html; charset=utf-8".into();
    response.body = Body::Static(PAGE.as_bytes());
    response
}

/// `GET /demo/stats`: the whole server in four numbers.
pub(super) fn stats_response(reports: &[&ShardReport]) -> Response {
    let stats = Stats {
        connections: reports.iter().map(|report| u64::from(report.connections)).sum(),
        shards: reports.len(),
        publications: reports.iter().map(|report| report.publications_total).sum(),
        deliveries: reports.iter().map(|report| report.deliveries_total).sum(),
    };
    channels::response(simd_json::to_vec(&stats).expect("numbers are what JSON can say"))
}
