//! What the program asks of the other members of a cluster, or of other nodes, and they of it. What it knows of its own clients it
//! answers and does itself.
//!
//! ```text
//!   MEMBERS {"op":"fetch",…} ─► every other member ─► REPLY          SAID ["event",…] ─► the program ─► ANSWER
//!                                                                    MOVED ["room"]
//! ```
//!
//! A process is one member, so of what others say the program is told by the link of shard 0 alone.

use std::{rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    frame::{Frame, FrameError, Head, Kind, PROTOCOL_OLDEST},
    link::{Link, Phase, WANTS_ACK},
    ops::WAITED_MAX,
    spaces::Space,
};
use crate::{
    app::socketio::{MemberAnswers, MemberCommand, Said},
    model::{Arguments, ChannelName, ShardId, SocketId, namespace_of},
    wire::redis_adapter::Fetched,
};

/// What is asked of members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    op: Op,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    /// The rooms that are joined or left.
    #[serde(default)]
    to: Vec<Box<str>>,
    #[serde(default)]
    close: bool,
    #[serde(borrow, default)]
    said: Option<&'a RawValue>,
    /// How long answers are waited for, in milliseconds.
    timeout: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Fetch,
    Join,
    Leave,
    Disconnect,
    Say,
}

/// A client is taken out of rooms, and not put into them.
const LEFT: u8 = 1;

impl Link {
    /// Whether the program hears what other members do to its clients.
    pub(super) fn hears_of_members(&self) -> bool {
        self.protocol.get() > PROTOCOL_OLDEST && self.io.settings().has_members()
    }

    /// Whether it asks other members besides, and is told what they say: not where it has several processes, each of which knows
    /// its own clients alone.
    pub(super) fn meets_members(&self) -> bool {
        self.hears_of_members() && self.share.is_whole()
    }

    /// Hears what other members say and do.
    pub(super) fn listen_to_members(self: &Rc<Self>) {
        if !self.io.settings().has_members() {
            return;
        }
        if self.io.shard() == ShardId(0) && self.share.is_whole() {
            let own = Rc::downgrade(self);
            self.io.on_said(move |namespace, arguments, said| {
                own.upgrade().is_some_and(|link| link.tell_said(namespace, arguments, said))
            });
        }
        let own = Rc::downgrade(self);
        self.io.on_moved(move |socket, rooms, are_joined| {
            own.upgrade().into_iter().for_each(|link| link.tell_moved(socket, rooms, are_joined));
        });
    }

    /// Another member puts a client into rooms, or takes it out of them. A program that begins is told of rooms as it is told of
    /// clients.
    fn tell_moved(&self, socket: SocketId, rooms: &[ChannelName], are_joined: bool) {
        let is_told = matches!(self.phase.get(), Phase::Telling | Phase::Live) && self.hears_of_members();
        let place = self.told.borrow().find(socket).filter(|_| is_told);
        let Some(space) = place.and_then(|place| self.spaces.at(place)) else { return };
        let Some(number) = space.number() else { return };
        let rooms: Vec<_> = rooms.iter().filter_map(|room| namespace_of(room).1).collect();
        let json = serde_json::to_string(&rooms).expect("it serializes");
        let flags = if are_joined { 0 } else { LEFT };
        if !self.outbox.push(&Head { flags, ..Head::about(Kind::Moved, socket, number) }, &json, &[]) {
            self.give_up(&space.namespace.socket(socket));
        }
    }

    /// The program asks other members something.
    pub(super) fn ask_members(self: &Rc<Self>, space: &Space, frame: &Frame<'_>) -> Result<(), FrameError> {
        let (kind, number) = (frame.head.kind, frame.head.number);
        let Arguments { json, attachments } = frame.object()?;
        let asked: Asked<'_> = serde_json::from_str(&json).map_err(|_| FrameError::Json(kind))?;
        let mut selected = space.namespace.everybody();
        if !asked.rooms.is_empty() {
            selected = selected.to(asked.rooms);
        }
        if !asked.except.is_empty() {
            selected = selected.except(asked.except);
        }
        if let Some(ms) = asked.timeout {
            selected = selected.timeout(Duration::from_millis(ms).min(WAITED_MAX));
        }
        match asked.op {
            Op::Join => selected.tell_members(MemberCommand::Join(asked.to)),
            Op::Leave => selected.tell_members(MemberCommand::Leave(asked.to)),
            Op::Disconnect => selected.tell_members(MemberCommand::Disconnect { close: asked.close }),
            Op::Fetch => {
                let fetched = selected.fetch_of_members();
                self.reply_later(number, async move { encode_fetched(&fetched.await) });
            }
            Op::Say => {
                let json = asked.said.ok_or(FrameError::Json(kind))?.get().into();
                let said = Arguments { json, attachments };
                match number {
                    0 => selected.tell_members(MemberCommand::Say(said)),
                    _ => {
                        let answers = selected.ask_applications(said);
                        self.reply_later(number, async move { encode_answers(&answers.await) });
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the program what was asked, once that has come.
    fn reply_later(self: &Rc<Self>, number: u32, answer: impl Future<Output = String> + 'static) {
        let (link, life) = (Rc::clone(self), self.life.get());
        self.io.spawn_local(async move {
            let said = Arguments { json: answer.await.into(), attachments: Box::default() };
            link.tell(life, &Head { number, ..Head::of(Kind::Reply) }, &said);
        });
    }

    /// Another member's application says something to this one; whether the program is told.
    pub(super) fn tell_said(&self, namespace: &str, arguments: &Arguments, said: Option<Said>) -> bool {
        let is_told = self.phase.get() == Phase::Live && self.meets_members();
        let number = self.spaces.named(namespace).and_then(|space| space.number());
        let Some(namespace) = number.filter(|_| is_told) else { return false };
        let head = Head { namespace, ..Head::of(Kind::Said) };
        let head = match said {
            Some(said) => {
                let number = self.unanswered.borrow_mut().add(said);
                Head { number, flags: WANTS_ACK, ..head }
            }
            None => head,
        };
        let is_told = self.outbox.push(&head, &arguments.json, &arguments.attachments);
        if !is_told {
            // It is answered by whoever has asked this.
            self.unanswered.borrow_mut().take(head.number);
        }
        is_told
    }

    /// The program answers what another member's has said.
    pub(super) fn answer_said(&self, frame: &Frame<'_>) -> Result<(), FrameError> {
        let arguments = frame.arguments()?;
        let said = self.unanswered.borrow_mut().take(frame.head.number);
        if let Some(said) = said {
            self.io.answer_said(said, arguments);
        }
        Ok(())
    }
}

/// The sockets that members have, and how many have not answered.
#[derive(Serialize)]
struct ToldSockets<'a> {
    sockets: Vec<ToldSocket<'a>>,
    missing: u32,
}

#[derive(Serialize)]
struct ToldSocket<'a> {
    id: &'a str,
    rooms: &'a [Box<str>],
    data: &'a RawValue,
}

impl<'a> ToldSocket<'a> {
    fn of(Fetched { id, rooms, data }: &'a Fetched) -> Option<Self> {
        Some(Self { id, rooms, data: serde_json::from_str(data).ok()? })
    }
}

fn encode_fetched((sockets, missing): &(Vec<Fetched>, u32)) -> String {
    let told =
        ToldSockets { sockets: sockets.iter().filter_map(ToldSocket::of).collect(), missing: *missing };
    serde_json::to_string(&told).expect("it serializes")
}

fn encode_answers(MemberAnswers { list, missing }: &MemberAnswers<Box<str>>) -> String {
    format!("{{\"answers\":[{}],\"missing\":{missing}}}", list.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_members_answer_is_json() {
        let socket =
            Fetched { id: "a\"".into(), rooms: vec!["x".into(), "y".into()], data: "{\"n\":1}".into() };
        let two = (vec![socket.clone(), Fetched { rooms: Vec::new(), ..socket }], 3);
        assert_eq!(
            encode_fetched(&two),
            concat!(
                r#"{"sockets":[{"id":"a\"","rooms":["x","y"],"data":{"n":1}},"#,
                r#"{"id":"a\"","rooms":[],"data":{"n":1}}],"missing":3}"#
            )
        );
        let answers = MemberAnswers { list: vec!["1".into(), "null".into()], missing: 0 };
        assert_eq!(encode_answers(&answers), r#"{"answers":[1,null],"missing":0}"#);
    }
}
