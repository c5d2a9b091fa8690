//! Sessions and sockets without a shard: what they are told waits for their polls, and what is left to do is handed back.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{Engines, Session, State, Surroundings, ending::Parting, sending::ToEnd};
use crate::{
    app::socketio::{Connecting, Io, Order, Orders, Settings},
    hub::{Hub, HubSettings},
    limits::Limits,
    mesh::ShardReport,
    model::{Arguments, CloseReason, Now, SessionId, ShardId, SocketId},
    ring::{Ring, RingSettings},
    session::{Engine, NONE, Poll, Session as Speaks, WebSocket},
    shard::{connection::Flags, lines::Lines, outbox::Class, secrets::Secrets, setup::Forms},
    wire::engineio::Packet,
};

const SHARD: ShardId = ShardId(1);
const CONNECTIONS: u32 = 4;
const QUEUE_BYTES_MAX: u32 = 1000;
/// The connection of a poll, and of a WebSocket that is tried.
const POLL: u32 = 2;
const PROBE: u32 = 3;

/// The sessions of a shard, and what they need of it.
struct Rig {
    engines: Engines,
    lines: Lines,
    hub: Hub,
    report: ShardReport,
}

impl Rig {
    fn new() -> Self {
        Self::of(Settings::default())
    }

    /// Clients that were lost may come back.
    fn with_recovery() -> Self {
        Self::of(Settings { recovery_ms: 1000, ..Settings::default() })
    }

    fn of(settings: Settings) -> Self {
        let ring = Ring::new(RingSettings {
            submission_entries: 8,
            completion_entries: 8,
            descriptors: CONNECTIONS,
            accepts: 1,
            receive_buffers: 8,
            receive_buffer_bytes: 4096,
        });
        let limits = Limits { send_queue_bytes_max: QUEUE_BYTES_MAX, ..Limits::default() };
        let forms = (Secrets::default(), Forms::default());
        let io = Io::new(settings, SHARD, 2, Orders::new(Rc::default()));
        io.of("/");
        let mut lines = Lines::new(ring.expect("io_uring"), CONNECTIONS, &limits, 1, forms);
        while let Some(index) = lines.slab.reserve() {
            let record = lines.slab.at(index);
            record.flags.set(Flags::OPEN);
            record.session = Speaks::WebSocket(WebSocket::new(NONE, false));
        }
        Self {
            engines: Engines::new(SHARD, io, true, CONNECTIONS, Arc::default(), 0, &limits),
            lines,
            hub: Hub::new(HubSettings::of_shard(&limits, SHARD, 2, CONNECTIONS, 1, 1)),
            report: ShardReport::default(),
        }
    }

    /// A client that polls opens a session.
    fn open(&mut self) -> u32 {
        self.engines.take_in(Session::new(Engine::new([7; 9], None)), 1000)
    }

    /// A client is in `/`.
    fn enter(&mut self, session: u32) -> SocketId {
        let id = self.engines.id_of(self.engines.sockets.next_index());
        let connecting = Connecting {
            session: self.engines.engine_id(session),
            socket: id,
            namespace: "/",
            auth: None,
            token: None,
            handshake: None,
            address: None,
            is_websocket: false,
            rulings: &[],
            question: RefCell::default(),
        };
        let namespace = self.engines.io.admit(&connecting).expect("it may").namespace();
        assert_eq!(self.engines.add_socket(session, namespace, NONE, [1; 9]), id.index);
        assert_eq!(self.engines.let_in(id), Some(namespace));
        self.engines.io.connected(id, namespace, false);
        id
    }

    fn engine(&mut self, session: u32) -> &mut Engine {
        &mut self.engines.sessions.get_mut(session).expect("it is there").engine
    }

    fn at(&mut self, monotonic_ms: u64) {
        self.engines.note_time(Now { monotonic_ms, ..Now::default() });
        self.engines.wheel.expire(monotonic_ms, &mut Vec::new());
    }

    /// What waits for a poll.
    fn queued(&mut self, session: u32) -> String {
        String::from_utf8(self.engine(session).queue.take_bytes()).expect("payloads are text")
    }

    fn say(&mut self, session: u32, text: &str) {
        let sent = self.engines.send_raw(&mut self.lines, session, true, text.as_bytes());
        assert_eq!(sent, Ok(()));
    }

    /// The application says something to a socket.
    fn emit(&mut self, id: SocketId, json: &str, is_volatile: bool) -> Result<(), ToEnd> {
        let around = &mut Surroundings { lines: &mut self.lines, report: &mut self.report };
        self.engines.emit(around, id, &said(json), None, is_volatile)
    }

    /// Ends a socket; whether its client may come back to it.
    fn end_socket(&mut self, id: SocketId, reason: CloseReason) -> bool {
        let leaver = self.engines.leaver(id.index, reason).expect("it is there");
        self.engines.end_socket(&mut self.hub, &leaver, reason);
        leaver.is_kept
    }
}

fn said(json: &str) -> Arguments {
    Arguments { json: json.into(), attachments: [].into() }
}

/// The answer to a poll.
fn answered(parting: &Parting) -> Option<(u32, &str)> {
    let (connection, response) = parting.answer.as_ref()?;
    Some((*connection, std::str::from_utf8(response.body.as_bytes()).expect("payloads are text")))
}

#[test]
fn a_session_between_two_polls_is_kept_for_the_next_unless_its_client_has_itself_to_blame() {
    let mut rig = Rig::new();
    let session = rig.open();
    rig.at(100);
    let parting = rig.engines.end(session, CloseReason::ServerLeft, false);
    assert!(parting.closes.is_empty() && parting.gone.is_none() && parting.answer.is_none());
    assert!(rig.engines.is_ending(session) && rig.engines.may_poll_again(session, false));
    assert_eq!(rig.engine(session).handle_poll(POLL), Poll::Close);
    assert_eq!((rig.engines.wheel.left_ms(session), rig.engines.sessions.len()), (Some(5000), 1));
    assert_eq!(rig.engines.handle_deadline(&mut rig.lines, session), Some(CloseReason::Normal));

    let other = rig.open();
    let gone = rig.engines.end(other, CloseReason::PingTimeout, false).gone.expect("it is gone");
    assert!(gone.session == other && gone.home.is_none() && !gone.is_partial);
    assert!(rig.engines.is_ending(other) && rig.engines.sessions.get(other).is_none());
}

#[test]
fn a_poll_that_waits_is_answered_what_is_queued_and_the_next_that_it_was_the_last() {
    let mut rig = Rig::new();
    let [told, silent, drained] = [rig.open(), rig.open(), rig.open()];
    for session in [told, silent, drained] {
        assert_eq!(rig.engine(session).handle_poll(POLL), Poll::Parked);
    }
    rig.say(told, "news");
    rig.say(drained, "news");
    let parting = rig.engines.end(told, CloseReason::ServerLeft, false);
    assert_eq!((answered(&parting), parting.gone.is_some()), (Some((POLL, "4news")), false));
    assert_eq!(rig.engine(told).handle_poll(POLL), Poll::Close);
    let parting = rig.engines.end(silent, CloseReason::ServerLeft, false);
    assert_eq!((answered(&parting), parting.gone.is_some()), (Some((POLL, "1")), true));
    // No other poll comes to a shard that is being emptied.
    let parting = rig.engines.end(drained, CloseReason::GoingAway, true);
    assert_eq!((answered(&parting), parting.gone.is_some()), (Some((POLL, "4news")), true));
}

#[test]
fn whoever_carries_a_session_or_tries_to_is_closed_with_it() {
    let mut rig = Rig::new();
    let session = rig.open();
    assert!(rig.engine(session).handle_upgrade(PROBE));
    let parting = rig.engines.end(session, CloseReason::TransportError, false);
    assert_eq!(parting.closes[..], [(PROBE, CloseReason::Normal)]);
    let on_websocket = Session::new(Engine::new([7; 9], Some(PROBE)));
    let session = rig.engines.take_in(on_websocket, 1000);
    let parting = rig.engines.end(session, CloseReason::PingTimeout, false);
    assert_eq!(parting.closes[..], [(PROBE, CloseReason::PingTimeout)]);
    assert_eq!(parting.gone.expect("it is gone").session, session);
}

#[test]
fn a_session_that_came_from_another_shard_is_found_by_its_id_until_it_is_gone() {
    let mut rig = Rig::new();
    let session = rig.open();
    let home = SessionId::new(ShardId(0), 9, [7; 9]);
    rig.engines.foreign.insert((home.shard(), home.index()), session);
    rig.engines.sessions.get_mut(session).expect("it is there").extra().home = Some(home);
    assert_eq!(rig.engines.find_foreign(&home), Some(session));
    let told = rig.engines.forget(session).home.expect("a shard to be told");
    assert_eq!((told.shard(), told.index()), (ShardId(0), 9));
    assert_eq!((rig.engines.find_foreign(&home), rig.engines.foreign.len()), (None, 0));
}

#[test]
fn a_client_that_answers_no_ping_and_sends_nothing_is_gone_and_one_that_posts_has_longer() {
    let mut rig = Rig::new();
    let session = rig.open();
    rig.at(1000);
    assert_eq!(rig.engines.handle_deadline(&mut rig.lines, session), None);
    assert_eq!((rig.queued(session), rig.engines.wheel.left_ms(session)), ("2".into(), Some(20_000)));
    rig.engine(session).note_heard();
    rig.at(21_000);
    assert_eq!(rig.engines.handle_deadline(&mut rig.lines, session), None);
    assert_eq!((rig.queued(session), rig.engines.wheel.left_ms(session)), (String::new(), Some(20_000)));
    assert_eq!(rig.engines.handle_deadline(&mut rig.lines, session), Some(CloseReason::PingTimeout));
}

#[test]
fn what_the_loss_of_a_connection_says_of_a_session_depends_on_what_carries_it() {
    use CloseReason::{ClientGone, MessageTooBig, Normal, PingTimeout, TransportError};
    let expected = [
        (true, Normal, TransportError),
        (true, ClientGone, TransportError),
        (true, MessageTooBig, MessageTooBig),
        (false, Normal, ClientGone),
        (false, MessageTooBig, TransportError),
        (false, PingTimeout, PingTimeout),
    ];
    let mut rig = Rig::new();
    for (polls, reason, told) in expected {
        let engine = Engine::new([7; 9], (!polls).then_some(POLL));
        let session = rig.engines.take_in(Session::new(engine), 1000);
        if polls {
            assert_eq!(rig.engine(session).handle_poll(POLL), Poll::Parked);
        }
        assert_eq!(rig.engines.lose_connection(PROBE, session, reason), None, "it is another's");
        assert_eq!(rig.engines.lose_connection(POLL, session, reason), Some(told));
        _ = rig.engines.forget(session);
    }
}

#[test]
fn a_client_for_which_too_much_waits_is_to_end_and_what_is_volatile_waits_for_nobody() {
    let mut rig = Rig::new();
    let session = rig.open();
    let id = rig.enter(session);
    assert_eq!(rig.emit(id, r#"["now"]"#, true), Ok(()));
    assert_eq!((rig.queued(session), rig.report.deliveries_total), (String::new(), 0), "nobody polls");
    // The first waits however large it is.
    let large = format!(r#"["large","{}"]"#, "x".repeat(2 * QUEUE_BYTES_MAX as usize));
    assert_eq!(rig.emit(id, &large, false), Ok(()));
    let to_end = ToEnd { session, reason: CloseReason::SlowConsumer };
    assert_eq!(rig.emit(id, r#"["more"]"#, false), Err(to_end));
    assert_eq!(rig.queued(session), format!("42{large}"));
}

#[test]
fn a_socket_is_kept_for_its_client_only_where_it_may_come_back() {
    let mut rig = Rig::with_recovery();
    let session = rig.open();
    let [lost, left] = [rig.enter(session), rig.enter(session)];
    assert_eq!(rig.engines.sockets_of(session).collect::<Vec<_>>(), [left.index, lost.index]);
    assert!(rig.end_socket(lost, CloseReason::PingTimeout));
    let away = rig.engines.socket(lost).expect("it is kept");
    assert_eq!((away.state, away.session, away.absences), (State::Away, NONE, 1));
    assert_eq!(rig.engines.away.next_ms(), Some(1000));
    assert!(!rig.end_socket(left, CloseReason::ClientLeft));
    assert!(rig.engines.socket(left).is_none() && rig.engines.sockets_of(session).next().is_none());
    rig.engines.forget_away(&mut rig.hub, lost);
    assert_eq!(rig.engines.sockets.len(), 0);

    let mut rig = Rig::new();
    let session = rig.open();
    let id = rig.enter(session);
    assert!(!rig.end_socket(id, CloseReason::PingTimeout), "nothing is kept for anybody");
}

#[test]
fn what_was_put_off_for_a_client_that_is_lost_again_is_kept_but_for_what_asks_for_an_answer() {
    let mut rig = Rig::with_recovery();
    let session = rig.open();
    let id = rig.enter(session);
    rig.engines.begin_returning(session, id, 0);
    let emit = |json: &str, ack| Order::Emit { socket: id, arguments: said(json), ack, is_volatile: false };
    // Before anything that is in no log, an event is told from there.
    let order = rig.engines.hold(emit(r#"["kept"]"#, None));
    assert!(matches!(order, Ok(Some(Order::Emit { .. }))));
    for order in [emit(r#"["asks"]"#, Some(1)), emit(r#"["behind"]"#, None)] {
        assert!(matches!(rig.engines.hold(order), Ok(None)));
    }
    assert_eq!((rig.engines.log.latest(), rig.queued(session)), (0, String::new()));
    assert!(rig.end_socket(id, CloseReason::ClientGone));
    assert_eq!((rig.engines.log.latest(), rig.engines.held.len()), (1, 0));
}

#[test]
fn a_client_that_takes_a_websocket_has_there_what_waited_for_its_polls() {
    let mut rig = Rig::new();
    let session = rig.open();
    let id = rig.enter(session);
    assert!(!rig.engines.io.is_on_websocket(id));
    rig.engines.send_engine(&mut rig.lines, session, Class::Answer, Packet::Noop);
    assert_eq!(rig.engines.move_to_websocket(&mut rig.lines, session, PROBE), Ok(()));
    // A frame of one byte, behind its head.
    assert_eq!((rig.queued(session), rig.lines.waiting(PROBE)), (String::new(), 3));
    assert_eq!(rig.engines.connection_of(id.index), Some(PROBE));
    assert!(rig.engines.io.is_on_websocket(id));
}
