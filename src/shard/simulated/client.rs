//! One client of HTTP: it sends what it asks in parts, reads when it likes, and holds every byte it is told against the oracle.

use std::{collections::VecDeque, io::Write, os::unix::net::UnixStream};

use serde_json::Value;

use super::{oracle::Oracle, receive};
use crate::{
    limits::HISTORY_PAGE_BYTES_MAX,
    model::{ConnectionId, Position},
};

/// What a client asks of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) what: What,
    pub(super) channel: usize,
    pub(super) since: Option<Position>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A stream of events.
    Events,
    /// The answer to a long poll.
    Poll,
    /// A page of history, with so many at most.
    Page(u32),
}

pub(super) struct Client {
    pub(super) shard: usize,
    /// Of its shard.
    pub(super) connection: ConnectionId,
    /// `None` once it has gone, or was cut.
    pub(super) socket: Option<UnixStream>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// What it waits for.
    pub(super) asked: VecDeque<Ask>,
    pub(super) follows: Option<Follows>,
    has_asked_otherwise: bool,
}

/// A stream that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follows {
    pub(super) channel: usize,
    /// Everything up to here has been seen, or is known to be lost.
    pub(super) place: Option<u64>,
}

impl Client {
    pub(super) fn new(shard: usize, connection: ConnectionId, socket: UnixStream) -> Self {
        Self {
            shard,
            connection,
            socket: Some(socket),
            unsent: Vec::new(),
            received: Vec::new(),
            asked: VecDeque::new(),
            follows: None,
            has_asked_otherwise: false,
        }
    }

    /// Asks something behind all it has asked before.
    pub(super) fn ask(&mut self, ask: Ask) {
        let (path, limit) = match ask.what {
            What::Events => ("events", 0),
            What::Poll => ("poll", 0),
            What::Page(limit) => ("page", limit),
        };
        let since = ask.since.map(|since| format!("&since={since}")).unwrap_or_default();
        write!(
            self.unsent,
            "GET /{path}?channel=c{}&limit={limit}{since} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ask.channel
        )
        .expect("a Vec");
        self.has_asked_otherwise |= ask.what != What::Events;
        self.asked.push_back(ask);
    }

    /// Whether all it has asked for is a stream of events.
    pub(super) fn only_follows(&self) -> bool {
        !self.has_asked_otherwise
    }

    /// Whether it may ask something more: nothing comes behind a stream.
    pub(super) fn may_ask(&self, most: usize) -> bool {
        self.socket.is_some()
            && self.follows.is_none()
            && self.asked.len() < most
            && self.asked.back().is_none_or(|last| last.what != What::Events)
    }

    /// Sends so many bytes of what it asks.
    pub(super) fn send(&mut self, bytes: usize) {
        let Some(socket) = &mut self.socket else { return };
        let len = bytes.min(self.unsent.len());
        if let Ok(sent) = socket.write(&self.unsent[..len]) {
            self.unsent.drain(..sent);
        }
    }

    /// Reads so many bytes, and looks at what is whole among them; tells how many there were.
    pub(super) fn read(&mut self, bytes: usize, oracle: &mut Oracle) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        let (read, is_cut) = receive(socket, &mut self.received, bytes);
        while self.look(oracle) {}
        if is_cut {
            oracle.seen.cuts += 1;
            self.socket = None;
        }
        read
    }

    /// Looks at the next whole thing that has arrived; whether there is one.
    fn look(&mut self, oracle: &mut Oracle) -> bool {
        if self.follows.is_some() { self.look_at_event(oracle) } else { self.look_at_answer(oracle) }
    }

    fn look_at_answer(&mut self, oracle: &mut Oracle) -> bool {
        let Some(end) = memchr::memmem::find(&self.received, b"\r\n\r\n") else { return false };
        let head = std::str::from_utf8(&self.received[..end]).expect("text");
        let ask = *self.asked.front().unwrap_or_else(|| panic!("nothing was asked: {head}"));
        if ask.what == What::Events {
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            self.received.drain(..end + 4);
            self.asked.clear();
            let place = ask.since.filter(|since| oracle.epoch(ask.channel) == Some(since.epoch));
            let place = place.map(|since| since.offset);
            self.follows = Some(Follows { channel: ask.channel, place });
            return true;
        }
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let len: usize = len.expect("a length").parse().expect("a number");
        let is_later = head.starts_with("HTTP/1.1 503 ");
        assert!(is_later || head.starts_with("HTTP/1.1 200 "), "{head}");
        if self.received.len() < end + 4 + len {
            return false;
        }
        let body: Vec<u8> = self.received.drain(..end + 4 + len).skip(end + 4).collect();
        self.asked.pop_front();
        match is_later {
            true => oracle.seen.unread += 1,
            false => check_answer(ask, &body, oracle),
        }
        true
    }

    fn look_at_event(&mut self, oracle: &mut Oracle) -> bool {
        let Some(end) = memchr::memmem::find(&self.received, b"\n\n") else { return false };
        let event: Vec<u8> = self.received.drain(..end + 2).collect();
        let event = std::str::from_utf8(&event).expect("text");
        let follows = self.follows.as_mut().expect("it follows");
        let (mut id, mut name, mut data) = (None, "", None);
        for line in event.lines().filter(|line| !line.is_empty()) {
            match line.split_once(':').expect("a field, or a comment") {
                ("", _) | ("retry", _) => {}
                ("id", text) => id = Some(text.trim_start().parse::<Position>().expect("a position")),
                ("event", text) => name = text.trim_start(),
                ("data", text) => data = Some(text.trim_start()),
                other => panic!("{other:?}"),
            }
        }
        let Some(id) = id else {
            assert_eq!((name, data), ("", None), "an event has a place");
            return true;
        };
        match (name, data) {
            ("reset", Some(_)) => {
                oracle.note(follows.channel, id);
                if let Some(place) = follows.place {
                    assert!(place < id.offset, "nothing between {place} and {id} is lost");
                    oracle.lost(follows.channel, id.offset);
                }
                oracle.seen.resets += 1;
            }
            ("", Some(text)) => {
                let before = id.offset - 1;
                assert_eq!(follows.place.unwrap_or(before), before, "what comes next comes next");
                oracle.saw(follows.channel, id, text);
            }
            ("", None) => {
                oracle.note(follows.channel, id);
                assert_eq!(follows.place.unwrap_or(id.offset), id.offset);
            }
            other => panic!("{other:?}"),
        }
        follows.place = Some(id.offset);
        true
    }
}

/// Whether a page or the answer to a poll is what it may be.
fn check_answer(ask: Ask, body: &[u8], oracle: &mut Oracle) {
    let Ask { what, channel, since } = ask;
    let page: Value = serde_json::from_slice(body).expect("JSON");
    let publications = page["publications"].as_array().expect("a list");
    let is_whole = page["recovered"].as_bool().expect("told");
    let Some(epoch) = page["epoch"].as_u64() else {
        // Nobody has used the channel yet.
        return assert!(publications.is_empty());
    };
    let at = |offset| Position { epoch, offset };
    let now = page["offset"].as_u64().expect("a place");
    oracle.note(channel, at(now));
    let (mut last, mut bytes) = (None, 0);
    for one in publications {
        let (offset, text) = (one["offset"].as_u64().expect("a place"), one["data"].as_str().expect("text"));
        assert_eq!(last.unwrap_or(offset - 1) + 1, offset, "they are consecutive");
        oracle.saw(channel, at(offset), text);
        last = Some(offset);
        bytes += text.len() as u64;
    }
    assert!(publications.len() == 1 || bytes <= HISTORY_PAGE_BYTES_MAX, "{bytes} bytes");
    let before = publications.first().map_or(now, |first| first["offset"].as_u64().expect("a place") - 1);
    match since {
        Some(since) if since.epoch == epoch && is_whole => assert_eq!(since.offset, before),
        Some(since) if since.epoch == epoch => {
            assert!(since.offset < before, "nothing between {since} and {before} is lost");
            oracle.lost(channel, before);
        }
        // Of another life of the channel, of which nothing is known.
        Some(_) => assert!(!is_whole),
        None => assert!(is_whole),
    }
    oracle.seen.gaps += u64::from(!is_whole);
    if what == What::Poll {
        oracle.seen.polls += 1;
        return assert_eq!(last.unwrap_or(now), now, "the next poll begins behind what this one is told");
    }
    let What::Page(limit) = what else { panic!("a stream is no page") };
    oracle.seen.pages += 1;
    assert!(publications.len() <= limit as usize);
    assert_eq!(page["more"].as_bool(), Some(last.unwrap_or(before) < now), "more is kept or not");
    if since.is_none() && before > 0 {
        oracle.lost(channel, before);
    }
}
