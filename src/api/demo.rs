//! The demo pages and the figures they show.
//!
//! Each page is whole: style and script stand inside it, so that it needs no build. The front page needs no other
//! request; the two on Socket.IO load the stock client, of which the server holds no copy (`client_script.rs`).

use std::rc::Rc;

use serde::Serialize;

use super::{fields::fresh, manual, route::DemoPage};
use crate::{app::Response, mesh::ShardReport};

/// The pages, written for where Socket.IO is served.
#[derive(Debug)]
pub(super) struct Pages {
    front: Rc<[u8]>,
    chat: Rc<[u8]>,
    lobby: Rc<[u8]>,
}

const FRONT: &str = concat!(
    include_str!("demo/head.html"),
    "<style>",
    include_str!("demo/demo.css"),
    "</style>",
    include_str!("demo/front.html"),
    "<script>",
    include_str!("demo/front.js"),
    include_str!("demo/lanes.js"),
    include_str!("demo/rooms.js"),
    include_str!("demo/crowd.js"),
    include_str!("demo/begin.js"),
    "</script>\n",
);

/// A page on the stock client: its body and its script.
macro_rules! stock {
    ($body:literal, $script:literal) => {
        concat!(
            include_str!("demo/head.html"),
            "<style>",
            include_str!("demo/demo.css"),
            "</style>",
            include_str!($body),
            "<script id=\"client\" src=\"..{socketio_path}socket.io.js\"></script>",
            "<script>",
            include_str!($script),
            include_str!("demo/stock.js"),
            "</script>\n",
        )
    };
}

const CHAT: &str = stock!("demo/chat.html", "demo/chat.js");
const LOBBY: &str = stock!("demo/lobby.html", "demo/lobby.js");

/// What a page may load and talk to: itself and this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; \
                      connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[derive(Serialize)]
struct Stats {
    connections: u64,
    shards: usize,
    publications: u64,
    deliveries: u64,
}

impl Pages {
    /// The pages of a server that serves Socket.IO at this path, or does not.
    pub(super) fn new(socketio_path: Option<&str>) -> Self {
        let at = |page: &str| page.replace("{socketio_path}", socketio_path.unwrap_or_default());
        let is_kept = |line: &&str| socketio_path.is_some() || !line.contains("href=\"demo/");
        let front: String = FRONT.split_inclusive('\n').filter(is_kept).collect();
        let front = at(&front);
        Self {
            front: front.into_bytes().into(),
            chat: at(CHAT).into_bytes().into(),
            lobby: at(LOBBY).into_bytes().into(),
        }
    }

    pub(super) fn answer(&self, page: DemoPage) -> Response {
        let html = match page {
            DemoPage::Front => &self.front,
            DemoPage::Chat => &self.chat,
            DemoPage::Lobby => &self.lobby,
        };
        manual::page(html, POLICY)
    }
}

/// `GET /demo/stats`: the whole server in four numbers.
pub(super) fn stats_response(reports: &[&ShardReport]) -> Response {
    let stats = Stats {
        connections: reports.iter().map(|report| u64::from(report.connections)).sum(),
        shards: reports.len(),
        publications: reports.iter().map(|report| report.publications_total).sum(),
        deliveries: reports.iter().map(|report| report.deliveries_total).sum(),
    };
    fresh(simd_json::to_vec(&stats).expect("numbers are what JSON can say"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [(&str, &[&str]); 3] = [
        (
            FRONT,
            &[
                include_str!("demo/front.js"),
                include_str!("demo/lanes.js"),
                include_str!("demo/rooms.js"),
                include_str!("demo/crowd.js"),
                include_str!("demo/begin.js"),
            ],
        ),
        (CHAT, &[include_str!("demo/chat.js"), include_str!("demo/stock.js")]),
        (LOBBY, &[include_str!("demo/lobby.js"), include_str!("demo/stock.js")]),
    ];

    #[test]
    fn the_pages_need_nothing_from_elsewhere_and_never_parse_text_as_html() {
        for (page, _) in PAGES {
            let page = page.replace(" src=\"..{socketio_path}socket.io.js\"", "");
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "src=", "@import"]
            {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            let links = page.match_indices("http").filter(|(at, _)| page[*at..].contains("://"));
            for (at, _) in links {
                let link: String = page[at..].chars().take(30).collect();
                assert!(
                    !link.starts_with("http://") && !link.starts_with("https://")
                        || link.contains("www.w3.org"),
                    "{link}"
                );
            }
        }
    }

    #[test]
    fn every_id_a_script_reads_exists() {
        for (page, scripts) in PAGES {
            for call in scripts.iter().flat_map(|script| script.split("$('").skip(1)) {
                let id = call.split('\'').next().unwrap_or_default();
                assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
            }
        }
    }

    #[test]
    fn style_and_script_cannot_end_their_own_element() {
        let scripts = PAGES.iter().flat_map(|(_, scripts)| scripts.iter());
        for text in scripts.chain([&include_str!("demo/demo.css")]) {
            assert!(!text.contains("</"));
        }
    }

    #[test]
    fn pages_load_the_client_from_where_it_is_served_and_are_linked_only_where_it_is() {
        let text = |page: &[u8]| String::from_utf8(page.to_vec()).expect("a page is text");
        let pages = Pages::new(Some("/live/"));
        assert!(text(&pages.chat).contains(" src=\"../live/socket.io.js\""));
        assert!(text(&pages.front).contains("href=\"demo/lobby\""));
        assert!(text(&pages.front).contains("data-socketio=\"./live/\""));
        let without = text(&Pages::new(None).front);
        assert!(!without.contains("href=\"demo/") && without.contains("data-socketio=\".\""));
    }
}
