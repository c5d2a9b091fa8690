//! What is published through a [`Context`]: by the application, or passed on for a client.

use super::{Context, Intent};
use crate::model::{Author, ChannelName, Payload, StateRequest, Ticket};

impl Context<'_> {
    /// Publishes; with a ticket, [`super::Reply::Published`] comes back. What functions of the application publish to one
    /// channel on one shard keeps the order in which they did, whoever they were called for.
    pub fn publish(&mut self, channel: ChannelName, payload: Payload, ticket: Option<Ticket>) {
        self.publish_by(Author::Application, channel, payload, ticket);
    }

    /// Passes on what a client publishes; otherwise as [`Self::publish`].
    pub(crate) fn relay(&mut self, channel: ChannelName, payload: Payload, ticket: Option<Ticket>) {
        self.publish_by(Author::Client, channel, payload, ticket);
    }

    /// Changes a channel's state: sets or removes a key, or counts one further. With a ticket, [`super::Reply::Changed`]
    /// comes back. Whoever follows the channel is told.
    pub fn change_state(&mut self, channel: ChannelName, request: StateRequest, ticket: Option<Ticket>) {
        self.change_by(Author::Application, channel, request, ticket);
    }

    /// Passes on what a client changes; otherwise as [`Self::change_state`].
    pub(crate) fn relay_change(&mut self, channel: ChannelName, request: StateRequest, ticket: Ticket) {
        self.change_by(Author::Client, channel, request, Some(ticket));
    }

    fn publish_by(&mut self, author: Author, channel: ChannelName, payload: Payload, ticket: Option<Ticket>) {
        let issuer = self.issuer();
        self.push(Intent::Publish { issuer, author, channel, payload, ticket });
    }

    fn change_by(
        &mut self,
        author: Author,
        channel: ChannelName,
        request: StateRequest,
        ticket: Option<Ticket>,
    ) {
        let (issuer, request) = (self.issuer(), Box::new(request));
        self.push(Intent::ChangeState { issuer, author, channel, request, ticket });
    }
}
