//! One Engine.IO v4 session: which connections carry it, its heartbeat, and what waits for a client that polls.
//!
//! A session outlives its connections. It begins as a poll or as a WebSocket, and a polling one may move to a WebSocket:
//!
//! ```text
//!   Polling ─► probe: WebSocket opened ─2probe/3probe─► confirmed ─5─► WebSocket
//!      ▲  └── GET parked until there is something to say                  │
//!      └──────────────── probe lost: nothing has happened                 └─ lost: the session is over
//! ```
//!
//! Connections are told apart by their index; the shard tells of each one's end, so that an index is never stale here.
//! What packets mean to Socket.IO is not here. Source: the Engine.IO protocol, revision 4, and where it is silent the
//! server of <https://github.com/socketio/socket.io>.

use super::{Due, PollQueue};
use crate::model::CloseReason;

/// No connection, no socket.
pub const NONE: u32 = u32::MAX;

/// One session. A client that is connected over a WebSocket and silent needs nothing beside this.
#[derive(Debug)]
pub struct Engine {
    /// The part of the session's id that cannot be guessed.
    pub secret: [u8; 9],
    flags: u8,
    /// The WebSocket, or while polling the parked GET.
    connection: u32,
    /// A WebSocket that the client tries.
    probe: u32,
    /// What the shard noted with the last ping.
    ping_mark: u32,
    /// What waits for a client that polls.
    pub queue: PollQueue,
}

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// As frames to this WebSocket.
    WebSocket(u32),
    /// Into the queue, which a GET is waiting for.
    Parked(u32),
    /// Into the queue.
    Queue,
}

/// What becomes of a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Answer it with what is queued.
    Answer,
    /// Nothing to say yet.
    Parked,
    /// A WebSocket is about to take over: answer with a noop, so that no poll is under way then.
    Noop,
    /// The same, but the word that it has taken over may have come before this poll and not been heard: hear it first.
    Soon,
    /// Another GET is waiting already: both are refused and the session ends.
    Overlap,
    /// The session is carried by a WebSocket.
    WrongTransport,
    /// The session is over, and what was queued has been taken away: say so.
    Close,
    /// The session is over, and its last words have been taken away.
    Over,
}

/// What becomes of a packet on a WebSocket that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Confirm it, and release the parked GET with a noop.
    Confirm {
        /// The GET.
        parked: Option<u32>,
    },
    /// The session is carried by it from now on; what is queued goes out on it.
    Upgraded {
        /// A GET that came behind, and is on the wrong transport.
        parked: Option<u32>,
    },
    /// It did not follow the protocol: close it, nothing else has happened.
    Broken,
}

/// What was lost with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing the session needs.
    Nothing,
    /// The session.
    Session,
}

const AWAITS_PONG: u8 = 1;
const IS_WEBSOCKET: u8 = 1 << 1;
const CONFIRMED: u8 = 1 << 2;
const ENDING: u8 = 1 << 3;
const ADMITTED: u8 = 1 << 4;
const HEARD: u8 = 1 << 5;
const BASE64: u8 = 1 << 6;
const OWES_CLOSE: u8 = 1 << 7;

impl Engine {
    /// A session that begins as a poll, or on this WebSocket.
    pub fn new(secret: [u8; 9], websocket: Option<u32>) -> Self {
        Self {
            secret,
            flags: if websocket.is_some() { IS_WEBSOCKET } else { 0 },
            connection: websocket.unwrap_or(NONE),
            probe: NONE,
            ping_mark: 0,
            queue: PollQueue::default(),
        }
    }

    /// A session that another process has begun, on this WebSocket if it does not poll; it may have been asked whether it is
    /// there, with this mark.
    pub fn resumed(secret: [u8; 9], websocket: Option<u32>, asked_at: Option<u32>) -> Self {
        let mut engine = Self::new(secret, websocket);
        if let Some(mark) = asked_at {
            (engine.flags, engine.ping_mark) = (engine.flags | AWAITS_PONG, mark);
        }
        engine
    }

    /// What was noted with the last ping, if that has not been answered.
    pub fn asked_at(&self) -> Option<u32> {
        self.has(AWAITS_PONG).then_some(self.ping_mark)
    }

    /// A GET asks for packets.
    pub fn handle_poll(&mut self, connection: u32) -> Poll {
        if self.has(IS_WEBSOCKET) {
            return Poll::WrongTransport;
        }
        if self.connection != NONE {
            return if self.has(CONFIRMED) { Poll::Noop } else { Poll::Overlap };
        }
        if !self.queue.is_empty() {
            return Poll::Answer;
        }
        if self.has(ENDING) {
            return if self.has(OWES_CLOSE) { Poll::Close } else { Poll::Over };
        }
        self.connection = connection;
        if self.has(CONFIRMED) { Poll::Soon } else { Poll::Parked }
    }

    /// A WebSocket asks to take the session over; tells whether it may try.
    pub fn handle_upgrade(&mut self, connection: u32) -> bool {
        let may_try = !self.has(IS_WEBSOCKET) && !self.has(ENDING) && self.probe == NONE;
        if may_try {
            self.probe = connection;
        }
        may_try
    }

    /// The WebSocket that is tried sent a ping with this text.
    pub fn handle_probe_ping(&mut self, text: &str) -> Probe {
        if text != "probe" || self.has(CONFIRMED) {
            return self.give_up_probe();
        }
        self.flags |= CONFIRMED;
        Probe::Confirm { parked: self.take_parked() }
    }

    /// The WebSocket that is tried asks to go over to it.
    pub fn handle_probe_upgrade(&mut self) -> Probe {
        if !self.has(CONFIRMED) {
            return self.give_up_probe();
        }
        let parked = self.take_parked();
        self.flags = self.flags & !CONFIRMED | IS_WEBSOCKET;
        self.connection = std::mem::replace(&mut self.probe, NONE);
        Probe::Upgraded { parked }
    }

    /// The WebSocket that is tried sent something else, or has had enough time.
    pub fn give_up_probe(&mut self) -> Probe {
        self.flags &= !CONFIRMED;
        self.probe = NONE;
        Probe::Broken
    }

    /// Takes the WebSocket that is tried away; tells whether it has been confirmed.
    pub fn take_probe(&mut self) -> Option<(u32, bool)> {
        let probe = (self.probe()?, self.has(CONFIRMED));
        self.give_up_probe();
        Some(probe)
    }

    /// A connection of the session has ended.
    pub fn handle_lost(&mut self, connection: u32) -> Lost {
        if connection == self.probe {
            self.give_up_probe();
            return Lost::Nothing;
        }
        if connection != self.connection {
            return Lost::Nothing;
        }
        self.connection = NONE;
        Lost::Session
    }

    /// The client sent a pong; gives what was noted with the ping, if it was asked to. Whatever was sent before that
    /// ping has arrived.
    pub fn handle_pong(&mut self) -> Option<u32> {
        let was_asked = self.has(AWAITS_PONG);
        self.flags &= !AWAITS_PONG;
        was_asked.then_some(self.ping_mark)
    }

    /// The client, which polls, sent something.
    pub fn note_heard(&mut self) {
        self.flags |= HEARD;
    }

    /// Whether the client sent something since last asked.
    pub fn take_heard(&mut self) -> bool {
        let was_heard = self.has(HEARD);
        self.flags &= !HEARD;
        was_heard
    }

    /// Whether a ping has not been answered.
    pub fn awaits_pong(&self) -> bool {
        self.has(AWAITS_PONG) && !self.has(ENDING)
    }

    /// The deadline has passed. `Due::Again` sends a ping; `mark` is handed back with the pong.
    pub fn handle_deadline(&mut self, ping_timeout_ms: u32, mark: u32) -> Due {
        if self.has(ENDING) {
            return Due::End(CloseReason::Normal);
        }
        if self.has(AWAITS_PONG) {
            return Due::End(CloseReason::PingTimeout);
        }
        self.flags |= AWAITS_PONG;
        self.ping_mark = mark;
        Due::Again(ping_timeout_ms)
    }

    /// The session is over but for what is queued, which the next GET takes away.
    pub fn end_with_queue(&mut self) {
        self.flags |= ENDING;
    }

    /// A GET behind the one that takes away what is queued is told that the session is over: a client that finds the close
    /// behind events, in one payload, puts the events off until it is connected again, and does not count them as heard.
    pub fn owe_close(&mut self) {
        self.flags |= OWES_CLOSE;
    }

    /// Whether something is left to say.
    pub fn has_words(&self) -> bool {
        !self.queue.is_empty() || self.has(OWES_CLOSE)
    }

    /// The client wants bytes as base64, over a WebSocket as well.
    pub fn ask_for_base64(&mut self) {
        self.flags |= BASE64;
    }

    /// Whether the client wants bytes as base64.
    pub fn is_base64(&self) -> bool {
        self.has(BASE64)
    }

    /// The client has entered a namespace.
    pub fn admit(&mut self) {
        self.flags |= ADMITTED;
    }

    /// Takes the parked GET to answer it.
    pub fn take_parked(&mut self) -> Option<u32> {
        if self.has(IS_WEBSOCKET) || self.connection == NONE {
            return None;
        }
        Some(std::mem::replace(&mut self.connection, NONE))
    }

    /// Takes the poll that is to be answered soon, if the WebSocket has still not taken over.
    pub fn take_soon(&mut self) -> Option<u32> {
        if self.has(CONFIRMED) { self.take_parked() } else { None }
    }

    /// Where packets go now.
    pub fn outlet(&self) -> Outlet {
        match (self.has(IS_WEBSOCKET), self.connection) {
            (true, connection) => Outlet::WebSocket(connection),
            (false, NONE) => Outlet::Queue,
            (false, parked) => Outlet::Parked(parked),
        }
    }

    /// The WebSocket that carries the session, or [`NONE`].
    pub fn websocket(&self) -> u32 {
        if self.has(IS_WEBSOCKET) { self.connection } else { NONE }
    }

    /// The WebSocket that is tried.
    pub fn probe(&self) -> Option<u32> {
        (self.probe != NONE).then_some(self.probe)
    }

    /// Whether the client polls.
    pub fn is_polling(&self) -> bool {
        !self.has(IS_WEBSOCKET)
    }

    /// Whether only what is queued is left of it.
    pub fn is_ending(&self) -> bool {
        self.has(ENDING)
    }

    /// Whether the client has ever entered a namespace.
    pub fn is_admitted(&self) -> bool {
        self.has(ADMITTED)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::engineio::Packet;

    const POLL: u32 = 1;
    const WEBSOCKET: u32 = 2;

    fn polling() -> Engine {
        Engine::new([7; 9], None)
    }

    /// A session whose WebSocket has been confirmed.
    fn confirmed() -> Engine {
        let mut engine = polling();
        assert!(engine.handle_upgrade(WEBSOCKET));
        assert_eq!(engine.handle_probe_ping("probe"), Probe::Confirm { parked: None });
        engine
    }

    #[test]
    fn a_poll_waits_unless_something_is_queued() {
        let mut engine = polling();
        assert_eq!((engine.outlet(), engine.handle_poll(POLL)), (Outlet::Queue, Poll::Parked));
        assert_eq!((engine.outlet(), engine.websocket()), (Outlet::Parked(POLL), NONE));
        assert_eq!(engine.take_parked(), Some(POLL));
        engine.queue.add(Packet::Ping(""), &Default::default());
        assert_eq!((engine.handle_poll(POLL), engine.outlet()), (Poll::Answer, Outlet::Queue));
    }

    #[test]
    fn a_second_poll_beside_one_that_waits_is_refused() {
        let mut engine = polling();
        assert_eq!(engine.handle_poll(POLL), Poll::Parked);
        assert_eq!(engine.handle_poll(POLL + 5), Poll::Overlap);
    }

    #[test]
    fn a_session_goes_over_to_a_websocket_once_that_is_confirmed() {
        let mut engine = polling();
        assert_eq!(engine.handle_poll(POLL), Poll::Parked);
        assert!(engine.handle_upgrade(WEBSOCKET));
        assert_eq!(engine.handle_probe_ping("probe"), Probe::Confirm { parked: Some(POLL) });
        assert_eq!(engine.handle_poll(POLL), Poll::Soon, "no poll is to be under way when it goes over");
        assert_eq!(engine.handle_poll(POLL + 5), Poll::Noop, "nor two");
        assert_eq!((engine.take_soon(), engine.take_soon()), (Some(POLL), None));
        assert_eq!(engine.handle_poll(POLL), Poll::Soon);
        assert_eq!(engine.handle_probe_upgrade(), Probe::Upgraded { parked: Some(POLL) }, "it came behind");
        assert_eq!(engine.take_soon(), None);
        assert_eq!((engine.outlet(), engine.websocket()), (Outlet::WebSocket(WEBSOCKET), WEBSOCKET));
        assert_eq!(engine.handle_poll(POLL), Poll::WrongTransport);
        assert!(!engine.handle_upgrade(9), "it has gone over already");
    }

    #[test]
    fn a_websocket_that_does_not_follow_the_protocol_leaves_the_session_as_it_was() {
        let steps: [fn(&mut Engine) -> Probe; 3] = [
            |engine| engine.handle_probe_ping("hello"),
            |engine| engine.handle_probe_upgrade(),
            |engine| engine.give_up_probe(),
        ];
        for step in steps {
            let mut engine = polling();
            assert!(engine.handle_upgrade(WEBSOCKET) && !engine.handle_upgrade(3), "one at a time");
            assert_eq!(step(&mut engine), Probe::Broken);
            assert_eq!((engine.probe(), engine.handle_poll(POLL)), (None, Poll::Parked));
            assert!(engine.handle_upgrade(3), "another may try");
        }
    }

    #[test]
    fn a_lost_probe_loses_nothing_and_a_lost_carrier_all() {
        let mut engine = confirmed();
        assert_eq!(engine.handle_lost(WEBSOCKET), Lost::Nothing);
        assert_eq!((engine.handle_poll(POLL), engine.handle_lost(POLL + 5)), (Poll::Parked, Lost::Nothing));
        assert_eq!(engine.handle_lost(POLL), Lost::Session);
        let mut engine = confirmed();
        assert_eq!(engine.handle_probe_upgrade(), Probe::Upgraded { parked: None });
        assert_eq!(engine.handle_lost(WEBSOCKET), Lost::Session);
    }

    #[test]
    fn a_ping_must_be_answered_before_the_next_deadline() {
        let mut engine = polling();
        assert_eq!(engine.handle_deadline(200, 7), Due::Again(200));
        assert_eq!(
            (engine.handle_pong(), engine.handle_pong()),
            (Some(7), None),
            "one pong answers one ping"
        );
        assert_eq!(engine.handle_deadline(200, 8), Due::Again(200));
        assert_eq!(engine.handle_deadline(200, 9), Due::End(CloseReason::PingTimeout));
    }

    #[test]
    fn a_session_goes_on_in_another_process_with_the_answer_that_it_owes() {
        let mut before = Engine::new([7; 9], Some(WEBSOCKET));
        assert_eq!(before.asked_at(), None);
        before.handle_deadline(200, 7);
        let mut after = Engine::resumed([7; 9], Some(WEBSOCKET + 1), before.asked_at());
        assert_eq!((after.websocket(), after.handle_pong()), (WEBSOCKET + 1, Some(7)));
        let mut late = Engine::resumed([7; 9], None, before.asked_at());
        assert_eq!(late.handle_deadline(200, 8), Due::End(CloseReason::PingTimeout));
        let mut silent = Engine::resumed([7; 9], Some(WEBSOCKET), None);
        assert_eq!(silent.handle_deadline(200, 8), Due::Again(200));
    }

    #[test]
    fn a_session_that_ends_says_so_behind_what_is_queued_and_takes_no_websocket() {
        for says_so in [true, false] {
            let mut engine = polling();
            engine.queue.add(Packet::Text("2"), &Default::default());
            engine.end_with_queue();
            if says_so {
                engine.owe_close();
            }
            assert!(!engine.handle_upgrade(WEBSOCKET));
            assert_eq!((engine.handle_poll(POLL), engine.is_ending()), (Poll::Answer, true));
            engine.queue.take();
            assert_eq!(engine.has_words(), says_so);
            let next = if says_so { Poll::Close } else { Poll::Over };
            assert_eq!((engine.handle_poll(POLL), engine.outlet()), (next, Outlet::Queue));
            assert_eq!(engine.handle_deadline(200, 0), Due::End(CloseReason::Normal));
        }
    }
}
