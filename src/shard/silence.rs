//! Other shards that do no turns, or take no more: what waits for the former is given up, and nothing new is asked of either.

use super::turn::Shard;
use crate::{
    app::Reply,
    mesh::Message,
    model::{PublishError, ShardId, ShardSet},
};

impl Shard {
    /// These shards do no turns. Told anew every second while there are any.
    pub(super) fn give_up_on(&mut self, silent: ShardSet) {
        let silent = self.peers.note_silent(silent);
        self.report.shards_silent = silent.iter().count() as u32;
        if !silent.is_empty() {
            self.hub.give_up_joins(&silent);
            self.hub.mute_receipts(&silent);
            self.give_up_marks(&silent);
            let owners = self.hub.owners();
            self.give_up_reads(&|channel| silent.contains(owners.of(channel)));
            self.settle();
        }
        let silent: Vec<ShardId> = silent.iter().collect();
        self.call("shards_silent", |handler, cx| handler.shards_silent(cx, &silent));
        self.run_intents();
    }

    /// Tells whoever asked for something that the way to its owner is full.
    pub(super) fn refuse_message(&mut self, to: ShardId, message: Message) {
        match message {
            Message::Publish { ticket, channel, payload } => {
                self.report.publications_refused_total += 1;
                // What stands behind it does not wait for what is not published.
                if let Some((_, number)) = payload.receipt() {
                    self.hub.ask_receipt(to, number, channel);
                }
                if let Some(ticket) = ticket {
                    self.tell(ticket, Reply::Published(Err(PublishError::Busy)));
                }
            }
            Message::Change { ticket, .. } => {
                self.report.publications_refused_total += 1;
                if let Some(ticket) = ticket {
                    self.tell(ticket, Reply::Changed(Err(PublishError::Busy.into())));
                }
            }
            Message::ReadHistory { ticket, .. }
            | Message::ReadState { ticket, .. }
            | Message::ReadPresence { ticket, .. } => {
                let error = PublishError::Busy;
                self.hub.handle_message(self.now, to, Message::Unread { ticket, error });
            }
            Message::Enter { channel, entry, ticket: Some(ticket) } => {
                let (number, result) = (entry.number, Err(PublishError::Busy.into()));
                let refused = Message::Entered { ticket, channel, number, result };
                self.hub.handle_message(self.now, to, refused);
            }
            _ => {}
        }
    }
}
