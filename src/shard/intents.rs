//! Doing what handlers asked for.

use super::{
    behind::Reading, connection::Flags, consults::Asker, kinds::Ask, lines::Lines, outbox::Class,
    setup::Errand, turn::Shard,
};
use crate::{
    app::{Intent, Reply},
    hub::{Since, Wanted},
    limits::{HANDLER_CALLS_NESTED_MAX, PUBLICATIONS_AT_ONCE, PUBLICATIONS_PER_TURN},
    model::{ChannelName, ConnectionId, Position, Shown, Ticket, Transport, Work},
    session::Session,
    wire::{
        sse,
        websocket::{self, Opcode},
    },
};

/// As what a connection is subscribed, and what it is told first.
pub(super) struct Wish {
    pub(super) transport: Transport,
    /// After which position.
    pub(super) since: Option<Position>,
    pub(super) shown: Shown,
    /// Something has been lost to it.
    pub(super) is_lost: bool,
}

impl Wish {
    /// What is published, after this position.
    pub(super) fn to_follow(transport: Transport, since: Option<Position>) -> Self {
        Self { transport, since, shown: Shown::default(), is_lost: false }
    }
}

/// Rounds of calls that intents may cause before the rest waits for the next turn.
const ROUNDS_MAX: usize = 64;

impl Shard {
    /// Does everything handlers have asked for, in order, and what they ask for meanwhile.
    pub(super) fn run_intents(&mut self) {
        if self.intents.depth() >= HANDLER_CALLS_NESTED_MAX || self.intents.are_put_off() {
            return;
        }
        for _ in 0..ROUNDS_MAX {
            if self.intents.is_empty() {
                return;
            }
            let mut list = self.intents.take();
            // Of much that was put off more is done.
            let at_once = (list.len() / 8).clamp(PUBLICATIONS_AT_ONCE, PUBLICATIONS_PER_TURN);
            let (mut publications, mut rest) = (0, list.drain(..));
            while let Some(intent) = rest.next() {
                let is_one = matches!(intent, Intent::Publish { .. } | Intent::ChangeState { .. });
                publications += usize::from(is_one);
                self.run_intent(intent);
                // A batch of very many is divided over turns, and so are very many batches; whatever is asked for meanwhile
                // comes behind.
                let is_much = publications >= at_once || (is_one && self.has_published_enough());
                if is_much && self.intents.depth() == 1 && rest.len() > 0 {
                    return self.intents.put_off(rest.collect());
                }
            }
            drop(rest);
            self.intents.reset(list);
        }
    }

    /// Whether this turn has done as many publications as it may.
    fn has_published_enough(&self) -> bool {
        self.work.done(Work::Publications) >= PUBLICATIONS_PER_TURN
    }

    fn run_intent(&mut self, intent: Intent) {
        let (issuer, kind) = intent.kind();
        if !self.must_wait(issuer, kind) {
            return self.carry_out(intent);
        }
        let ask = match intent {
            Intent::Send { connection, is_text, range } => {
                Ask::Send { connection, is_text, data: self.intents.bytes(range).into() }
            }
            intent => Ask::Intent(intent),
        };
        self.hold_ask(issuer, ask);
    }

    /// Does one thing that a handler has asked for.
    pub(super) fn carry_out(&mut self, intent: Intent) {
        match intent {
            Intent::Send { connection, is_text, range } => self.send_message(connection, is_text, range),
            Intent::Respond { connection, response } => self.respond(connection, response),
            Intent::Subscribe { connection, channel, since, transport, shown, token } => {
                if self.lines.slab.get(connection).is_some() {
                    let wanted = Wish { transport, since, shown, is_lost: false };
                    self.subscribe(connection.index, wanted, channel, Some(token));
                }
            }
            Intent::Unsubscribe { connection, channel, .. } => {
                if self.lines.slab.get(connection).is_some() {
                    self.hub.unsubscribe(connection, &channel);
                    self.forget_catching_up(connection.index, &channel);
                }
            }
            Intent::Publish { issuer, channel, payload, ticket, author: _ } => {
                self.work.count(Work::Publications, 1);
                self.publish(issuer, channel, payload, ticket);
            }
            Intent::ChangeState { issuer, channel, request, ticket, author: _ } => {
                self.work.count(Work::Publications, 1);
                self.change_state(issuer, channel, request, ticket);
            }
            Intent::ReadState { ticket, channel, query } => {
                self.read(ticket, Reading::State { channel, query });
            }
            Intent::Enter { issuer, ticket, channel, user, info } => {
                self.be_present(issuer, ticket, &channel, user.as_deref(), info);
            }
            Intent::Depart { connection, channel, .. } => {
                self.hub.depart(self.now, connection, &channel);
            }
            Intent::ReadPresence { ticket, channel, after, limit } => {
                self.read(ticket, Reading::Presence { channel, after, limit });
            }
            Intent::ReadHistory { ticket, channel, since, limit } => {
                self.read(ticket, Reading::History { channel, since, limit });
            }
            Intent::Ask { ticket, question } => self.ask_everybody(ticket, question),
            Intent::Withdraw { ticket } => self.hub.withdraw(ticket),
            Intent::Authenticate { connection, text, token } => {
                self.authenticate(Ticket { connection, token }, text.as_bytes());
            }
            Intent::Consult { connection, question, token } => {
                if self.lines.slab.get_in_session(connection).is_some() {
                    let asker = Asker::Handler(Ticket { connection, token });
                    self.consult(connection, asker, *question, None);
                }
            }
            Intent::Revoke { revocation } => self.revoke(&revocation, true),
            Intent::Close { connection, reason, .. } => {
                if self.lines.slab.get(connection).is_some() {
                    self.close(connection.index, reason);
                }
            }
            Intent::Timer { delay_ms, timer } => {
                self.handler_timers.set(self.now.monotonic_ms + delay_ms, timer);
            }
            Intent::Reload => (self.errand)(Errand::Reload),
            Intent::Upgrade => (self.errand)(Errand::Upgrade),
            Intent::CountRateLimited => self.report.rate_limited_total += 1,
            Intent::CountCommandRefused => self.report.commands_refused_total += 1,
        }
    }

    /// Sends a message; a WebSocket whose peer does not read is not read either.
    fn send_message(&mut self, connection: ConnectionId, is_text: bool, range: std::ops::Range<usize>) {
        if self.takes_messages(connection) {
            say_message(&mut self.lines, connection.index, is_text, self.intents.bytes(range));
        }
    }

    /// Sends a message that has waited.
    pub(super) fn send_bytes(&mut self, connection: ConnectionId, is_text: bool, data: &[u8]) {
        if self.takes_messages(connection) {
            say_message(&mut self.lines, connection.index, is_text, data);
        }
    }

    fn takes_messages(&mut self, connection: ConnectionId) -> bool {
        let Some(record) = self.lines.slab.get(connection) else { return false };
        // While its own message is being handled, a WebSocket is lent out.
        let takes = match record.session {
            Session::WebSocket(_) | Session::Lent(..) => true,
            Session::EventStream => record.flags.has(Flags::KNOWN),
            _ => false,
        };
        takes && !record.flags.has(Flags::FINISHING) && record.flags.is_live()
    }

    /// Subscribes a connection, unless its session is over: then nothing would end the subscription.
    pub(super) fn subscribe(&mut self, index: u32, wish: Wish, channel: ChannelName, token: Option<u32>) {
        let Wish { transport, since, shown, is_lost } = wish;
        let connection = self.lines.slab.id(index);
        let Some(record) = self.lines.slab.get_in_session(connection) else { return };
        record.flags.set(Flags::SUBSCRIBED);
        if transport == Transport::Json && shown != Shown::default() {
            record.flags.set(Flags::STATEFUL);
        }
        let is_poll = transport == Transport::LongPoll;
        let since = since.map(|position| match is_poll {
            true => self.severals.page(index, position),
            false => Since::part(position),
        });
        let is_later = !is_poll && !self.has_room_for_first(index);
        let wanted = Wanted { since, shown, is_later, is_lost };
        let catches_up = since.is_some() || shown != Shown::default();
        match self.hub.subscribe(self.now, connection, transport, channel.clone(), wanted, token) {
            Ok(()) if catches_up && !is_poll => self.begin_to_catch_up(index, channel, !is_later),
            Ok(()) => {}
            Err(error) => self.handle_join_refused(connection, transport, token, channel, error),
        }
    }

    /// Tells the handler what it asked for on behalf of a connection, unless that has ended since.
    pub(super) fn tell(&mut self, ticket: Ticket, reply: Reply) {
        if ticket.connection.index == ConnectionId::APPLICATION {
            return self.engines.io.channel_answered(ticket, reply);
        }
        if ticket.connection.index == ConnectionId::NODE {
            return self.take_answer_for_node(ticket, reply);
        }
        if self.lines.slab.get_in_session(ticket.connection).is_none() {
            return;
        }
        let (index, mark) = (ticket.connection.index, self.intents.mark());
        let begins = matches!(reply, Reply::Subscribed { .. });
        let told = self.call_about(index, "reply", |handler, cx, peer| {
            handler.reply(cx, peer, ticket.token, reply);
        });
        if told.is_none() {
            self.fail(index);
        }
        if begins {
            // That a subscription begins is told before what is published there, and so before what was asked for meanwhile.
            for (connection, is_text, data) in self.intents.take_sends(mark) {
                self.send_bytes(connection, is_text, &data);
            }
        }
        self.run_intents();
    }
}

fn say_message(lines: &mut Lines, index: u32, is_text: bool, data: &[u8]) {
    if let Session::EventStream = lines.slab.look(index).session {
        let text = String::from_utf8_lossy(data);
        // Nobody has asked for this one, and a client that reads none of them is not to be read less but ended.
        lines.say(index, Class::Publication, |out| sse::encode_event(out, &text));
        return;
    }
    let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
    lines.say_frames(index, Class::Answer, |out| websocket::encode_frame(out, opcode, true, data));
}
