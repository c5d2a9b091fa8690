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

#[cfg(test)]
mod tests {
    use super::PAGE;

    #[test]
    fn the_page_needs_nothing_else_and_never_parses_text_as_html() {
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "src=", "@import"]
        {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        let links = PAGE.match_indices("http").filter(|(at, _)| PAGE[*at..].contains("://"));
        for (at, _) in links {
            let link: String = PAGE[at..].chars().take(30).collect();
            assert!(
                !link.starts_with("http://") && !link.starts_with("https://") || link.contains("www.w3.org"),
                "{link}"
            );
        }
    }

    #[test]
    fn every_id_the_script_reads_exists() {
        let script = include_str!("demo/demo.js");
        for call in script.split("$('").skip(1) {
            let id = call.split('\'').next().unwrap_or_default();
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn style_and_script_cannot_end_their_own_element() {
        assert!(
            !include_str!("demo/demo.js").contains("</") && !include_str!("demo/demo.css").contains("</")
        );
    }
}
