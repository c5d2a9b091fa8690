//! What the program asks of clients, in the order in which it was written.
//!
//! Invariant: a frame is done or refused whole, and nothing that a program writes ends the shard.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    frame::{Frame, FrameError, Head, Kind},
    link::{Link, WANTS_ACK},
    spaces::Space,
};
use crate::{
    api,
    app::socketio::{AckError, Answers, ConnectError, MemberAcks, Socket},
    limits::{ACK_TIMEOUT_MS, PROGRAM_DATA_BYTES_MAX},
    model::{Arguments, PublishError},
    wire::json::with_base64,
};

/// Whom a broadcast is for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Target {
    rooms: Vec<String>,
    except: Vec<String>,
    timeout: Option<u64>,
}

/// Why a client may not enter.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
    data: Option<Box<RawValue>>,
}

const VOLATILE: u8 = 1;
const NOT_TO_SOCKET: u8 = 4;
const LOCAL: u8 = 8;
const REFUSED: u8 = 1;
const CLOSES: u8 = 1;

/// How long acknowledgements from several shards, or from another one, are waited for at most.
pub(super) const WAITED_MAX: Duration = Duration::from_secs(3600);
/// Bytes of a broadcast's JSON with its attachments in it.
const BROADCAST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What became of an event that is to be acknowledged, as the program is told.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Outcome {
    Answered = 0,
    Late = 1,
    Gone = 2,
    TooMany = 3,
    End = 4,
}

impl Link {
    /// Does what a frame asks for.
    pub(super) fn handle(self: &Rc<Self>, frame: &Frame<'_>) -> Result<(), FrameError> {
        let Head { kind, namespace, number, .. } = frame.head;
        match kind {
            Kind::Namespace => {
                let name: String = read(frame)?;
                self.take_namespace(&frame.head, &name).then_some(()).ok_or(FrameError::Json(kind))
            }
            Kind::Finds => {
                self.take_finds();
                Ok(())
            }
            Kind::Ready => self.be_ready().then_some(()).ok_or(FrameError::Unexpected(kind)),
            Kind::Pause => self.pause().then_some(()).ok_or(FrameError::Unexpected(kind)),
            Kind::Command if self.is_heard() => self.command(frame),
            Kind::Answer if self.is_heard() => self.answer_said(frame),
            Kind::Verdict => self.take_verdict(frame, number),
            Kind::Emit
            | Kind::Broadcast
            | Kind::Ack
            | Kind::Join
            | Kind::Leave
            | Kind::Disconnect
            | Kind::Data
            | Kind::Members => {
                let space = self.spaces.numbered(namespace).filter(|_| self.is_heard());
                let space = space.ok_or(FrameError::Unexpected(kind))?;
                self.handle_in(&space, frame)
            }
            Kind::Hello
            | Kind::Refused
            | Kind::Listen
            | Kind::Listening
            | Kind::Ping
            | Kind::Pong
            | Kind::Stop
            | Kind::Stopped
            | Kind::Ask
            | Kind::Find
            | Kind::Connected
            | Kind::Event
            | Kind::Acked
            | Kind::Disconnected
            | Kind::Upgraded
            | Kind::Paused
            | Kind::Reply
            | Kind::Ended
            | Kind::Said
            | Kind::Moved
            | Kind::Answer
            | Kind::Command => Err(FrameError::Unexpected(kind)),
        }
    }

    fn handle_in(self: &Rc<Self>, space: &Space, frame: &Frame<'_>) -> Result<(), FrameError> {
        let Head { kind, flags, socket, number, extra, .. } = frame.head;
        let socket = space.namespace.socket(socket);
        match kind {
            Kind::Members => self.ask_members(space, frame)?,
            Kind::Emit => self.emit(&socket, frame)?,
            Kind::Broadcast => self.broadcast(space, frame)?,
            Kind::Ack => {
                let id = u64::from(extra) << 32 | u64::from(number);
                socket.acknowledge_json(id, frame.arguments()?);
            }
            // A name that cannot be a room's is that of one nobody is in.
            Kind::Join => {
                socket.join(read::<Vec<String>>(frame)?);
            }
            Kind::Leave => {
                socket.leave(read::<Vec<String>>(frame)?);
            }
            Kind::Disconnect if flags & CLOSES != 0 => socket.put_out(),
            Kind::Disconnect => socket.disconnect(),
            Kind::Data => {
                let json = read::<Box<RawValue>>(frame)?;
                if json.get().len() > PROGRAM_DATA_BYTES_MAX {
                    return Err(FrameError::Json(kind));
                }
                socket.set_public_json(json.get().into());
            }
            other => return Err(FrameError::Unexpected(other)),
        }
        Ok(())
    }

    fn take_verdict(&self, frame: &Frame<'_>, number: u32) -> Result<(), FrameError> {
        let verdict = match frame.head.flags & REFUSED != 0 {
            false => Ok(()),
            true => {
                let Refusal { message, data } = read(frame)?;
                Err(ConnectError { message, data: data.map(|data| data.get().to_owned()) })
            }
        };
        self.settle(number, verdict);
        Ok(())
    }

    fn emit(self: &Rc<Self>, socket: &Socket, frame: &Frame<'_>) -> Result<(), FrameError> {
        let Head { flags, number, extra, .. } = frame.head;
        let (arguments, is_volatile) = (frame.arguments()?, flags & VOLATILE != 0);
        if flags & WANTS_ACK == 0 {
            socket.emit_json(arguments, is_volatile);
            return Ok(());
        }
        let until = (extra > 0).then(|| Instant::now() + Duration::from_millis(extra.into()));
        let answer = self.answerer(socket, number);
        if socket.id().shard == self.io.shard() {
            self.io.ask_socket(socket.id(), (arguments, is_volatile), until, move |said| match said {
                Ok(said) => answer(Outcome::Answered, &said),
                Err(AckError::TimedOut) => answer(Outcome::Late, &no_arguments()),
                Err(AckError::TooMany) => answer(Outcome::TooMany, &no_arguments()),
                Err(_) => answer(Outcome::Gone, &no_arguments()),
            });
            return Ok(());
        }
        let selected = socket.namespace().in_(socket.id()).local();
        let selected = if is_volatile { selected.volatile() } else { selected };
        let until = until.unwrap_or_else(|| Instant::now() + WAITED_MAX);
        selected.ask_json(arguments, until, move |acks, _| {
            match acks.list.into_iter().next().map(|ack| ack.said) {
                Some(Some(said)) => answer(Outcome::Answered, &said),
                Some(None) => answer(Outcome::Late, &no_arguments()),
                None => answer(Outcome::Gone, &no_arguments()),
            }
        });
        Ok(())
    }

    fn broadcast(self: &Rc<Self>, space: &Space, frame: &Frame<'_>) -> Result<(), FrameError> {
        let Head { kind, flags, socket, number, .. } = frame.head;
        let target: Target = match frame.target()? {
            [] => Target::default(),
            json => serde_json::from_slice(json).map_err(|_| FrameError::Json(kind))?,
        };
        let arguments = frame.arguments()?;
        let mut selected = space.namespace.everybody();
        if !target.rooms.is_empty() {
            selected = selected.to(target.rooms);
        }
        if !target.except.is_empty() {
            selected = selected.except(target.except);
        }
        if flags & NOT_TO_SOCKET != 0 {
            selected = selected.but_for(socket);
        }
        if flags & VOLATILE != 0 {
            selected = selected.volatile();
        }
        if flags & LOCAL != 0 {
            selected = selected.local();
        }
        if flags & WANTS_ACK == 0 {
            let base64 = match arguments.attachments.is_empty() {
                true => None,
                false => Some(with_base64(&arguments, BROADCAST_BYTES_MAX).ok_or(FrameError::Json(kind))?),
            };
            selected.emit_json(arguments, base64);
            return Ok(());
        }
        let time = Duration::from_millis(target.timeout.unwrap_or(ACK_TIMEOUT_MS));
        let until = Instant::now() + time.min(WAITED_MAX);
        let (link, life) = (Rc::clone(self), self.life.get());
        let namespace = frame.head.namespace;
        selected.ask_json(arguments, until, move |Answers { list: acks, missing, .. }, of_members| {
            let head =
                |outcome: Outcome| Head { namespace, number, extra: outcome as u32, ..Head::of(Kind::Acked) };
            let (mut answered, mut late) = (0, 0);
            for ack in acks {
                match ack.said {
                    Some(said) => {
                        let head = Head { socket: ack.socket, ..head(Outcome::Answered) };
                        link.tell(life, &head, &said);
                        answered += 1;
                    }
                    None => late += 1,
                }
            }
            for said in &of_members.said {
                link.tell(life, &head(Outcome::Answered), said);
                answered += 1;
            }
            let MemberAcks { unanswered, missing: members, .. } = of_members;
            late += unanswered as usize;
            let missing = late + usize::from(missing) + members as usize;
            let json = format!("[{},{missing}]", answered + late);
            let end = Arguments { json: json.into(), attachments: Box::default() };
            link.tell(life, &head(Outcome::End), &end);
        });
        Ok(())
    }

    /// Tells the program what a socket has acknowledged, if it is still the one that asked.
    fn answerer(self: &Rc<Self>, socket: &Socket, number: u32) -> impl FnOnce(Outcome, &Arguments) + use<> {
        let (link, life, id) = (Rc::clone(self), self.life.get(), socket.id());
        move |outcome, said| {
            let head = Head { socket: id, number, extra: outcome as u32, ..Head::of(Kind::Acked) };
            link.tell(life, &head, said);
        }
    }

    /// Tells the program what it has asked for.
    pub(super) fn tell(&self, life: u64, head: &Head, said: &Arguments) {
        if self.life.get() != life || !self.outbox.is_open() {
            return;
        }
        // What there is no room for counts as not said.
        if !self.outbox.push(head, &said.json, &said.attachments) {
            match head.kind {
                Kind::Reply => self.refuse(head.number, api::Refusal::Publish(PublishError::Busy)),
                _ => self.outbox.push_always(&Head { extra: Outcome::Late as u32, ..*head }, "[]", &[]),
            }
        }
    }
}

fn no_arguments() -> Arguments {
    Arguments { json: "[]".into(), attachments: Box::default() }
}

fn read<'a, T: Deserialize<'a>>(frame: &Frame<'a>) -> Result<T, FrameError> {
    serde_json::from_str(frame.json()?).map_err(|_| FrameError::Json(frame.head.kind))
}
