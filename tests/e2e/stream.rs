//! A blocking reader of server-sent events (HTML Living Standard §9.2.6).

use crate::{
    client::{Client, End, Response, find},
    server::Patience,
};

/// A stream of events.
pub struct EventStream {
    /// The connection under it.
    pub client: Client,
    /// The answer's head.
    pub head: Response,
}

/// One event, or what else can stand between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub name: Option<String>,
    /// The `data:` lines, joined.
    pub data: Option<String>,
    /// `retry:`
    pub retry: Option<u64>,
}

impl EventStream {
    /// Follows a channel; `query` is empty or begins with `?`, `fields` are further lines of the request.
    #[track_caller]
    pub fn open(client: Client, channel: &str, query: &str, fields: &str) -> Self {
        Self::open_at(client, &format!("/channels/{channel}{query}"), fields)
    }

    /// Asks for the stream at an address.
    #[track_caller]
    pub fn open_at(mut client: Client, target: &str, fields: &str) -> Self {
        let fields = format!("Accept: text/event-stream\r\n{fields}");
        client.ask("GET", target, &fields, b"");
        let head = client.response_head();
        assert_eq!(head.status, 200, "{}", head.head);
        assert_eq!(head.field("content-type"), Some("text/event-stream; charset=utf-8"));
        Self { client, head }
    }

    /// What the dashboard is told.
    #[track_caller]
    pub fn dashboard(mut client: Client) -> Self {
        client.ask("GET", "/dashboard/live", "", b"");
        let head = client.response_head();
        assert_eq!(head.status, 200, "{}", head.head);
        Self { client, head }
    }

    /// The next event with data; comments and retry times are passed over.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        let patience = Patience::begin();
        loop {
            patience.check("an event comes");
            let event = self.block().expect("the stream goes on");
            if event.data.is_some() {
                return event;
            }
        }
    }

    /// The data of the next event.
    #[track_caller]
    pub fn data(&mut self) -> String {
        self.event().data.expect("an event has data")
    }

    /// The next lines up to an empty one; `None` when the stream has ended.
    #[track_caller]
    pub fn block(&mut self) -> Option<Event> {
        let end = loop {
            if let Some(at) = find(&self.client.received, b"\n\n") {
                break at + 2;
            }
            if self.client.receive().expect("the stream can be read") == 0 {
                assert!(self.client.received.is_empty(), "the stream ends within an event");
                return None;
            }
        };
        let block: Vec<u8> = self.client.received.drain(..end).collect();
        Some(parse(std::str::from_utf8(&block).expect("a stream is UTF-8")))
    }

    /// What comes until the stream ends in order.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<Event> {
        assert_eq!(self.client.receive_to_end(), End::Closed);
        std::iter::from_fn(|| self.block_received()).collect()
    }

    fn block_received(&mut self) -> Option<Event> {
        let end = find(&self.client.received, b"\n\n")? + 2;
        let block: Vec<u8> = self.client.received.drain(..end).collect();
        Some(parse(std::str::from_utf8(&block).expect("a stream is UTF-8")))
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => event.id = Some(value.to_owned()),
            "event" => event.name = Some(value.to_owned()),
            "retry" => event.retry = value.parse().ok(),
            "data" => match &mut event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => event.data = Some(value.to_owned()),
            },
            "" => {}
            other => panic!("an unknown field {other:?} in {block:?}"),
        }
    }
    event
}
