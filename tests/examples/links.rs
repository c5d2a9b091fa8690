//! An archive of links and texts: whoever pastes one gets a short name for it, and everybody sees it at once.
//! `cargo run --example links`, then open http://localhost:8080/ in several windows. What was pasted is there again after a
//! restart, also one that nobody asked for: it is on disk before anybody is told its name.
//!
//! Each text is the key `text` of a channel of its own, `link:NAME`; the list is the history of the channel `links`, which is
//! longer on disk than in memory.

use std::collections::HashMap;

use roadstead::{
    app::{
        Answer, ChannelName, CloseReason, Condition, ConnectionId, Context, Handler, Message, Method,
        Payload, Peer, Position, Reply, Request, Response, Shown, StateError, StateKey, StateQuery,
        StateRequest, Ticket, Verdict,
    },
    config::Config,
    supervisor::serve,
};
use serde_json::json;

/// Letters and digits that are not taken for each other.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
const NAME_LENGTH: usize = 7;
const TEXT_BYTES_MAX: usize = 32 * 1024;
const PAGE: &str = include_str!("links.html");

/// One shard's part of the archive.
#[derive(Default)]
pub struct Links {
    /// What is being done for whom: a connection asks for one thing after the other.
    tasks: HashMap<ConnectionId, Task>,
}

enum Task {
    /// The text is to have this name.
    Naming {
        name: String,
        text: Box<[u8]>,
    },
    /// It has it, and is to be listed.
    Listing {
        name: String,
    },
    Showing,
    Reading,
}

impl Links {
    /// Begins something for a connection, of which a reply will come.
    fn begin(&mut self, connection: ConnectionId, task: Task) -> Ticket {
        self.tasks.insert(connection, task);
        Ticket { connection, token: 0 }
    }

    fn paste(&mut self, cx: &mut Context<'_>, connection: ConnectionId, text: Box<[u8]>) {
        let name: String =
            (0..NAME_LENGTH).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect();
        let request = StateRequest::set(key(), Payload::new(text.clone(), Some("text/plain; charset=utf-8")));
        let channel = link(&name).expect("it is made of letters");
        let ticket = self.begin(connection, Task::Naming { name, text });
        cx.change_state(channel, request.only_if(Condition::Absent), Some(ticket));
    }
}

impl Handler for Links {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::Refuse(Response::refused(404, "not_found", "nothing is served here over WebSocket"))
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        let since = request.query("since").and_then(|text| text.parse::<Position>().ok());
        match (request.method, request.path()) {
            (Method::Get, "/") => {
                let mut page = Response::text(200, PAGE);
                page.content_type = "text/html; charset=utf-8".into();
                Answer::Respond(page)
            }
            (Method::Post, "/links") => {
                let text = request.body.trim_ascii();
                if text.is_empty() || text.len() > TEXT_BYTES_MAX || std::str::from_utf8(text).is_err() {
                    return refused(400, "a link or a text of up to 32 KiB is wanted");
                }
                self.paste(cx, peer.connection, text.into());
                Answer::Later { tag: 0 }
            }
            // Everything there is; what comes later is heard from where the page ends.
            (Method::Get, "/links") => {
                let ticket = self.begin(peer.connection, Task::Reading);
                cx.read_history(ticket, list(), since, 1000);
                Answer::Later { tag: 0 }
            }
            (Method::Get, "/news") => {
                let seen =
                    request.header("last-event-id").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
                Answer::EventStream {
                    channel: list(),
                    since: seen.or(since),
                    shown: Shown::default(),
                    fields: String::new(),
                }
            }
            (Method::Get, path) => match path.strip_prefix("/l/").and_then(link) {
                Some(channel) => {
                    let ticket = self.begin(peer.connection, Task::Showing);
                    cx.read_state(ticket, channel, StateQuery::Key(key()));
                    Answer::Later { tag: 0 }
                }
                None => refused(404, "there is no such page"),
            },
            _ => refused(405, "only GET and POST are served"),
        }
    }

    fn message(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: Message<'_>) {}

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _token: u32, reply: Reply) {
        let Some(task) = self.tasks.remove(&peer.connection) else { return };
        let connection = peer.connection;
        let response = match (task, reply) {
            (Task::Naming { name, text }, Reply::Changed(Ok(_))) => {
                let said = json!({ "name": name, "begins": beginning(&text) }).to_string();
                let ticket = self.begin(connection, Task::Listing { name });
                return cx.publish(
                    list(),
                    Payload::new(said.as_bytes(), Some("application/json")),
                    Some(ticket),
                );
            }
            // The name is taken.
            (Task::Naming { text, .. }, Reply::Changed(Err(StateError::ConditionFailed))) => {
                return self.paste(cx, connection, text);
            }
            (Task::Listing { name }, Reply::Published(Ok(_))) => {
                Response::json(201, json!({ "name": name }).to_string().into_bytes())
            }
            (Task::Showing, Reply::State(page)) => match page.keys.first() {
                Some(held) => shown(&held.payload.data),
                None => Response::refused(404, "not_found", "there is no such link"),
            },
            (Task::Reading, Reply::History(page)) => {
                let said =
                    |data: &[u8]| serde_json::from_slice::<serde_json::Value>(data).unwrap_or_default();
                let links: Vec<_> = page.publications.iter().map(|one| said(&one.payload.data)).collect();
                let last = page.publications.last().map(|last| last.position).or(page.position);
                let last = last.map(|last| last.to_string());
                let body = json!({ "links": links, "position": last, "has_more": page.has_more });
                Response::json(200, body.to_string().into_bytes())
            }
            _ => Response::refused(503, "busy", "try again").with_field("Retry-After", "1"),
        };
        cx.respond(connection, response);
    }

    fn disconnect(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, _: CloseReason) {
        self.tasks.remove(&peer.connection);
    }
}

/// A link leads there; any other text is shown.
fn shown(data: &[u8]) -> Response {
    let text = String::from_utf8_lossy(data).into_owned();
    let is_link = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    match is_link && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        true => Response::empty(302).with_field("Location", &text),
        false => Response::text(200, text).with_field("X-Content-Type-Options", "nosniff"),
    }
}

/// The first line, or some of it.
fn beginning(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().chars().take(80).collect()
}

fn refused(status: u16, message: &str) -> Answer {
    Answer::Respond(Response::refused(status, "refused", message))
}

fn list() -> ChannelName {
    ChannelName::new("links", ChannelName::BYTES_MAX).expect("a name")
}

fn link(name: &str) -> Option<ChannelName> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| LETTERS.contains(&byte));
    is_name.then(|| ChannelName::new(&format!("link:{name}"), ChannelName::BYTES_MAX).ok()).flatten()
}

fn key() -> StateKey {
    StateKey::new("text").expect("a key")
}

/// What the archive needs, kept in a folder.
pub fn config(folder: &str) -> Config {
    let mut config = Config::default();
    config.storage.path = folder.to_owned();
    config.storage.synced = vec!["links".to_owned(), "link:*".to_owned()];
    config.storage.history_publications_max = 1_000_000;
    config.limits.state_channels_max = 1_000_000;
    config.limits.channels_max = 1_000_000;
    config
}

/// `links [ADDRESS [FOLDER]]`
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let mut config = config(&arguments.next().unwrap_or_else(|| "links".to_owned()));
    if let Some(address) = address {
        config.server.listen = vec![address.parse()?];
    }
    serve(config, |_shard| Box::new(Links::default()))?;
    Ok(())
}
