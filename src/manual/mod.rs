//! The manual: short pages in Markdown, compiled in, readable as files beside this one.
//!
//! A page is one file `NAME.md` here and one line in [`PAGES`]; then it is served at `/manual/NAME`, printed by
//! `roadstead help NAME`, and its commands are run by `tests/manual.rs`. It begins with `# Title` and a paragraph that
//! tells what it is about. Links to other pages are written `NAME.md`, to files of the repository as paths from here.
//!
//! How pages look in a browser is `html.rs`, in a terminal `terminal.rs`. Who may read them is not decided here
//! (`src/api/manual.rs`).
//!
//! # How commands stand in a page
//!
//! | fence | what the test does with it |
//! |---|---|
//! | `sh` | runs all of it with `bash -e` against a server of the page's own; every command has to succeed |
//! | `console` | runs each `$ ` line and compares what it prints with the lines below it; `…` stands for anything |
//! | `ws` | sends each `> ` line on one `/ws` and expects each `< ` line; `…` stands for anything |
//! | `sh (not run: WHY)` | nothing: WHY says why a test cannot run it |
//! | `sh (run by TEST)` | nothing: TEST, of which `tests/run` knows, takes it from the page and runs it |
//!
//! A command that follows a channel (`curl -N`, `?timeout=`, `websocat`) goes on in the background, once it has
//! subscribed; what it prints is looked for until the page ends.

mod html;
mod terminal;

pub use html::{index, page};
pub use terminal::print;

/// One page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Its name in addresses and on the command line.
    pub name: &'static str,
    /// Under which heading it is listed.
    pub part: Part,
    /// Markdown.
    pub text: &'static str,
}

/// What pages are listed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For those who write clients and programs.
    Use,
    /// For those who run the server.
    Run,
    /// Tables.
    LookUp,
}

macro_rules! page {
    ($name:literal, $part:ident) => {
        Page { name: $name, part: Part::$part, text: include_str!(concat!($name, ".md")) }
    };
}

/// Every page, in the order in which they are read.
pub const PAGES: &[Page] = &[
    page!("start", Use),
    page!("first-day", Use),
    page!("channels", Use),
    page!("ws", Use),
    page!("state", Use),
    page!("presence", Use),
    page!("socketio", Use),
    page!("permissions", Use),
    page!("hooks", Use),
    page!("notices", Use),
    page!("embedding", Use),
    page!("program", Use),
    page!("link", Use),
    page!("migrating", Use),
    page!("when-not", Use),
    page!("tls", Run),
    page!("compression", Run),
    page!("proxy", Run),
    page!("storage", Run),
    page!("nodes", Run),
    page!("cluster", Run),
    page!("operating", Run),
    page!("balance", Run),
    page!("restarting", Run),
    page!("settings", LookUp),
    page!("metrics", LookUp),
    page!("codes", LookUp),
    page!("figures", LookUp),
];

/// What programs read of the program's surfaces, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its file's name here and in addresses.
    pub name: &'static str,
    /// What it describes.
    pub summary: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// The whole of it.
    pub text: &'static str,
}

macro_rules! description {
    ($name:literal, $media_type:literal, $summary:literal) => {
        Description { name: $name, summary: $summary, media_type: $media_type, text: include_str!($name) }
    };
}

/// Every description. Tests hold them to the routes, to the codec of `/ws` and to the metrics.
pub const DESCRIPTIONS: &[Description] = &[
    description!("openapi.json", "application/json", "the HTTP surface, in OpenAPI 3.1"),
    description!("openapi-admin.json", "application/json", "the admin listener, in OpenAPI 3.1"),
    description!("asyncapi.json", "application/json", "the protocol of /ws, in AsyncAPI 3.0"),
    description!("grafana.json", "application/json", "a dashboard for Grafana"),
    description!("alerts.yml", "application/yaml", "alert rules for Prometheus"),
];

impl Part {
    /// Every part, in order.
    pub const ALL: [Self; 3] = [Self::Use, Self::Run, Self::LookUp];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Use => "Use",
            Self::Run => "Run",
            Self::LookUp => "Look up",
        }
    }
}

impl Page {
    /// The page of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PAGES.iter().find(|page| page.name == name)
    }

    /// Its heading.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }

    /// Its first sentence.
    pub fn summary(&self) -> String {
        let paragraph = self.text.lines().skip(1).skip_while(|line| line.is_empty());
        let paragraph: Vec<_> = paragraph.take_while(|line| !line.is_empty()).collect();
        let text = paragraph.join(" ");
        text.split_once(". ").map_or(text.clone(), |(sentence, _)| format!("{sentence}."))
    }
}

/// Every page with its first sentence, for a terminal.
pub fn list() -> String {
    let mut text = String::new();
    for part in Part::ALL {
        text += &format!("{}:\n", part.title());
        for page in PAGES.iter().filter(|page| page.part == part) {
            text += &format!("  {:<12} {}\n", page.name, page.summary());
        }
    }
    text
}

/// The programs on the page about embedding are compiled, and run where they end.
#[cfg(doctest)]
#[doc = include_str!("embedding.md")]
struct Embedding;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_title_and_says_what_it_is_about() {
        for page in PAGES {
            assert!(page.text.starts_with("# "), "{}", page.name);
            let summary = page.summary();
            assert!(summary.ends_with('.') && summary.len() <= 160, "{}: {summary:?}", page.name);
            assert!(!summary.contains(['`', '[']), "{}: the first sentence is plain: {summary}", page.name);
        }
    }

    #[test]
    fn every_file_is_in_the_list() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
        for entry in std::fs::read_dir(folder).expect("the folder of this file") {
            let name = entry.expect("readable").file_name().into_string().expect("a plain name");
            if let Some(name) = name.strip_suffix(".md") {
                assert!(Page::find(name).is_some(), "add page!(\"{name}\", …) to PAGES in src/manual/mod.rs");
            }
        }
    }
}
