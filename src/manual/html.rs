//! A page as HTML: whole in itself, without script or anything from elsewhere, in light and dark.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::{DESCRIPTIONS, PAGES, Page, Part};

const STYLE: &str = include_str!("manual.css");
/// Where files of the repository are read that are no pages.
const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");

/// A page. Addresses in it are relative to `/manual/`.
pub fn page(page: &Page) -> String {
    let mut body = String::new();
    html::push_html(&mut body, events(page.text).into_iter());
    body += &neighbours(page);
    document(page.title(), Some(page), &body)
}

/// The list of pages, with what each is about.
pub fn index() -> String {
    let mut body = String::from(
        "<h1>Manual</h1>\n<p>Roadstead, page by page. In a terminal: <code>roadstead help NAME</code>.</p>\n",
    );
    for part in Part::ALL {
        body += &format!("<h2>{}</h2>\n<dl class=\"pages\">\n", part.title());
        for page in PAGES.iter().filter(|page| page.part == part) {
            let (name, title, summary) = (page.name, escaped(page.title()), escaped(&page.summary()));
            body += &format!("<dt><a href=\"{name}\">{title}</a></dt><dd>{summary}</dd>\n");
        }
        body += "</dl>\n";
    }
    body += "<h2>For programs</h2>\n<ul>\n";
    for description in DESCRIPTIONS {
        let (name, summary) = (description.name, description.summary);
        body += &format!("<li><a href=\"{name}\">{name}</a>: {summary}</li>\n");
    }
    body += "</ul>\n";
    document("Manual", None, &body)
}

fn document(title: &str, current: Option<&Page>, body: &str) -> String {
    let (title, list) = (escaped(title), navigation(current));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · Roadstead</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>\n<div class=\"frame\">\n\
         <nav aria-label=\"Manual\">{list}</nav>\n<main>\n{body}</main>\n</div>\n</body>\n</html>\n"
    )
}

/// The list of pages beside each; a phone shows only its first line, which leads to the list.
fn navigation(current: Option<&Page>) -> String {
    let mut list = String::from("<a class=\"home\" href=\"./\">Roadstead · Manual</a>");
    for part in Part::ALL {
        list += &format!("<h2>{}</h2><ul>", part.title());
        for page in PAGES.iter().filter(|page| page.part == part) {
            let is_current = current.is_some_and(|current| current.name == page.name);
            let mark = if is_current { " aria-current=\"page\"" } else { "" };
            list += &format!("<li><a href=\"{}\"{mark}>{}</a></li>", page.name, escaped(page.title()));
        }
        list += "</ul>";
    }
    list
}

/// Links to the pages before and after.
fn neighbours(page: &Page) -> String {
    let at = PAGES.iter().position(|other| other.name == page.name);
    let link = |page: Option<&Page>, before: &str, after: &str| {
        page.map_or(String::new(), |page| {
            format!("<a href=\"{}\">{before}{}{after}</a>", page.name, escaped(page.title()))
        })
    };
    let before = at.and_then(|at| PAGES.get(at.checked_sub(1)?));
    let after = at.and_then(|at| PAGES.get(at + 1));
    format!(
        "<div class=\"next\"><span>{}</span><span>{}</span></div>\n",
        link(before, "← ", ""),
        link(after, "", " →")
    )
}

/// What the parser found, with addresses that lead on, headings that can be linked to, and tables that scroll.
fn events(text: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut heading: Option<usize> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = address(&dest_url).into();
                events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let language = info.split([' ', ',']).next().unwrap_or_default().to_owned();
                events.push(Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language.into()))));
            }
            Event::Start(Tag::Table(alignment)) => {
                events.push(Event::Html("<div class=\"table\" tabindex=\"0\">".into()));
                events.push(Event::Start(Tag::Table(alignment)));
            }
            Event::End(TagEnd::Table) => {
                events.push(Event::End(TagEnd::Table));
                events.push(Event::Html("</div>\n".into()));
            }
            Event::Start(Tag::Heading { level, .. }) if level != HeadingLevel::H1 => {
                heading = Some(events.len());
                events.push(event);
            }
            Event::End(TagEnd::Heading(level)) if level != HeadingLevel::H1 => {
                if let Some(start) = heading.take() {
                    let anchor = anchor(&words(&events[start..]));
                    let open = format!("<a class=\"anchor\" href=\"#{anchor}\">");
                    let tag = Tag::Heading {
                        level,
                        id: Some(anchor.into()),
                        classes: Vec::new(),
                        attrs: Vec::new(),
                    };
                    events[start] = Event::Start(tag);
                    events.insert(start + 1, Event::InlineHtml(open.into()));
                    events.push(Event::InlineHtml("</a>".into()));
                }
                events.push(event);
            }
            // Comments are for those who read the file.
            Event::Html(_) | Event::InlineHtml(_) => {}
            event => events.push(event),
        }
    }
    events
}

/// The text of some events.
fn words(events: &[Event<'_>]) -> String {
    let mut words = String::new();
    for event in events {
        if let Event::Text(text) | Event::Code(text) = event {
            words += text;
        }
    }
    words
}

/// The anchor of a heading, as forges make them.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Where a link leads: another page, a file of the repository, or what it says.
fn address(link: &str) -> String {
    let (path, fragment) = link.split_at(link.find('#').unwrap_or(link.len()));
    match path.strip_suffix(".md").filter(|name| Page::find(name).is_some()) {
        Some(name) => format!("{name}{fragment}"),
        None if path.is_empty() || path.contains("://") => link.to_owned(),
        None if DESCRIPTIONS.iter().any(|description| description.name == path) => link.to_owned(),
        None => format!("{REPOSITORY}{}{fragment}", from_root(path)),
    }
}

/// A path relative to this folder as one from the root of the repository.
fn from_root(path: &str) -> String {
    let mut parts = vec!["src", "manual"];
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn links(page: &Page) -> Vec<String> {
        let parser = Parser::new_ext(page.text, Options::ENABLE_TABLES);
        let link = |event| match event {
            Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.into_string()),
            _ => None,
        };
        parser.filter_map(link).collect()
    }

    fn anchors(page: &Page) -> Vec<String> {
        let html = super::page(page);
        html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_link_between_pages_and_into_the_repository_leads_somewhere() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
        for page in PAGES {
            for link in links(page).iter().filter(|link| !link.contains("://")) {
                let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
                let target = match path.strip_suffix(".md") {
                    _ if path.is_empty() => Some(page),
                    Some(name) => Page::find(name),
                    None => None,
                };
                assert!(path.is_empty() || folder.join(path).exists(), "{}: {link}", page.name);
                if let (Some(target), false) = (target, fragment.is_empty()) {
                    assert!(anchors(target).contains(&fragment.to_owned()), "{}: {link}", page.name);
                }
            }
        }
    }

    #[test]
    fn links_lead_to_pages_and_to_files_of_the_repository() {
        assert_eq!(address("ws.md#pushes"), "ws#pushes");
        assert_eq!(address("#here"), "#here");
        assert_eq!(address("https://example.org/a.md"), "https://example.org/a.md");
        let file = address("../../tuning/README.md");
        assert!(file.ends_with("/blob/main/tuning/README.md"), "{file}");
    }

    #[test]
    fn pages_need_nothing_from_elsewhere_and_have_one_heading_of_the_first_rank() {
        for html in PAGES.iter().map(super::page).chain([index()]) {
            for forbidden in ["<script", " src=", "@import", "url("] {
                assert!(!html.contains(forbidden), "{forbidden}");
            }
            assert_eq!(html.matches("<h1>").count(), 1);
        }
    }

    #[test]
    fn headings_are_anchored_as_forges_do_it() {
        assert_eq!(anchor("Who may publish?"), "who-may-publish");
        assert_eq!(anchor("`/ws` in short"), "ws-in-short");
    }
}
