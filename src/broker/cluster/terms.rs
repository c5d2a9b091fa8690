//! What holds of a member as long as the process does, and how it says something: where, and in which words.

use super::Members;
use crate::{
    broker::address::Address,
    wire::redis_adapter::{
        AdapterError, Answer, Asked, Emitted, Names, Request, encode_answer, encode_event, encode_request,
        sharded,
    },
};

/// What holds as long as the process does.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) address: Address,
    pub(super) names: Names,
    /// This member.
    pub(super) uid: Box<str>,
    /// Who the others are.
    pub(super) members: Members,
    /// What the uids of nodes begin with that a broker joins with this one.
    pub(super) siblings: Option<Box<str>>,
    /// What stands in the place of a namespace where these ask each other.
    pub(super) nodes: Option<Box<str>>,
    pub(super) bytes_max: usize,
}

/// Something to be published.
#[derive(Debug)]
pub(super) struct Saying {
    pub(super) verb: &'static str,
    pub(super) channel: String,
    pub(super) bytes: Vec<u8>,
}

impl Terms {
    /// Whether a namespace is spoken of over sharded pub/sub. What nodes ask each other never is.
    pub(super) fn is_sharded(&self, namespace: &str) -> bool {
        self.members == Members::Sharded && namespace.starts_with('/')
    }

    /// An event for the sockets of others.
    pub(super) fn event(&self, event: &Emitted) -> Result<Saying, AdapterError> {
        let rooms = match self.members {
            Members::Anybody => &*event.rooms,
            Members::Sharded if sharded::is_said_to_room(&event.rooms) => &*event.rooms,
            // Everybody hears it on one channel.
            Members::Sharded | Members::Nodes => &[],
        };
        let mut bytes = Vec::new();
        match self.is_sharded(&event.namespace) {
            true => sharded::encode_emitted(&mut bytes, &self.uid, event)?,
            false => encode_event(&mut bytes, &self.uid, event)?,
        }
        Ok(self.saying(&event.namespace, self.names.events(&event.namespace, rooms), bytes))
    }

    /// A request, answered under this number if it has one.
    pub(super) fn request(
        &self,
        namespace: &str,
        id: Option<&str>,
        request: Request,
    ) -> Result<Saying, AdapterError> {
        let mut bytes = Vec::new();
        let channel = match self.is_sharded(namespace) {
            true => {
                sharded::encode_asked(&mut bytes, [namespace, &self.uid], id, &request)?;
                self.names.events(namespace, &[])
            }
            false => {
                let asked = Asked { uid: Some(self.uid.clone()), id: id.map(Into::into), request };
                encode_request(&mut bytes, &asked)?;
                self.names.requests(namespace)
            }
        };
        Ok(self.saying(namespace, channel, bytes))
    }

    /// An answer to the request of an id, as [`Self::id_of`] gives it.
    pub(super) fn answer(&self, namespace: &str, id: &str, answer: &Answer) -> Result<Saying, AdapterError> {
        let mut bytes = Vec::new();
        let channel = match self.is_sharded(namespace) {
            true => {
                let (asker, id) = id.split_once('#').ok_or(AdapterError::Shape)?;
                sharded::encode_answered(&mut bytes, [namespace, &self.uid], id, answer)?;
                self.names.events(namespace, &[asker.into()])
            }
            false => {
                encode_answer(&mut bytes, id, answer);
                self.names.answers(namespace)
            }
        };
        Ok(self.saying(namespace, channel, bytes))
    }

    /// The id of a request as shards are told it: where each member counts its own, who asks belongs to it.
    pub(super) fn id_of(&self, namespace: &str, asked: &Asked) -> Option<Box<str>> {
        let id = asked.id.clone()?;
        match (self.is_sharded(namespace), &asked.uid) {
            (true, Some(uid)) => Some(format!("{uid}#{id}").into()),
            (true, None) => None,
            (false, _) => Some(id),
        }
    }

    fn saying(&self, namespace: &str, channel: String, bytes: Vec<u8>) -> Saying {
        let verb = if self.is_sharded(namespace) { "SPUBLISH" } else { "PUBLISH" };
        Saying { verb, channel, bytes }
    }
}
