//! Clients of Socket.IO that go on with another process: what this server keeps of one of their sockets, and whether it may go on
//! there.
//!
//! A key goes by its digest, as that of a WebSocket does (`carried.rs`). Who follows a channel to which it has no right any more
//! comes back and is told so. A backend may have put it into rooms to which it never had one: there it stays.

use serde::{Deserialize, Serialize};

use super::{
    admin_page,
    keys::KeySlot,
    socketio::{Publisher, Rules, who},
};
use crate::{
    app::{Resumed, socketio::Socket},
    auth::{Right, Verified},
    model::ChannelName,
};

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    key: Option<[u8; 32]>,
    /// Channels that it follows without a right of its own.
    #[serde(borrow)]
    put_into: Vec<&'a str>,
}

impl Rules {
    /// What is kept of a socket that follows these channels; `None` for one that cannot go on.
    pub(super) fn save(&self, socket: &Socket, followed: &[ChannelName]) -> Option<Vec<u8>> {
        // What an admin page has opened is this process's.
        if socket.namespace().name() == admin_page::NAMESPACE {
            return None;
        }
        let key = match socket.data::<Publisher>() {
            Some(publisher) => Some(self.access.keys.digest_of(publisher.0)?),
            None => None,
        };
        let token = socket.token();
        let names = followed.iter().map(ChannelName::as_str);
        let put_into = names.filter(|channel| !self.may_follow(socket, token.as_deref(), channel)).collect();
        postcard::to_stdvec(&Saved { key, put_into }).ok()
    }

    /// Goes on with a socket of which that is kept, unless it may not any more.
    pub(super) fn restore(&self, socket: &Socket, resumed: &Resumed<'_>) -> bool {
        let Ok(Saved { key, put_into }) = postcard::from_bytes(resumed.saved) else { return false };
        let key = key.map_or(Some(KeySlot::NONE), |digest| self.access.keys.slot_of(&digest));
        let Some(key) = key.filter(|_| self.namespaces.allow(socket.namespace().name())) else {
            return false;
        };
        if key != KeySlot::NONE {
            socket.set_data(Publisher(key));
        }
        let token = socket.token();
        let mut names =
            resumed.followed.iter().map(ChannelName::as_str).filter(|channel| !put_into.contains(channel));
        names.all(|channel| self.may_follow(socket, token.as_deref(), channel))
    }

    /// What the backend has allowed once stays allowed.
    fn may_follow(&self, socket: &Socket, token: Option<&Verified>, channel: &str) -> bool {
        self.access.check_again(&who(socket, token), Right::Subscribe, channel, true).is_ok()
    }
}
