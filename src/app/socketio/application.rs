//! A handler that serves a Socket.IO application and nothing else.

use super::Io;
use crate::{
    app::{Context, Handler, Peer, Request, Response, Verdict},
    model::ShardId,
};

struct Application<F> {
    register: F,
}

/// The handlers of a server that speaks Socket.IO only, for [`crate::supervisor::serve`] and
/// [`crate::supervisor::Server::start`]: `register` is called once on each shard. Whoever wants a page, the official
/// client and channels over HTTP as well takes [`crate::api::program`].
pub fn application<F>(register: F) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    move |_shard| Box::new(Application { register: register.clone() })
}

impl<F: Fn(&Io)> Handler for Application<F> {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::Refuse(Response::refused(404, "not_found", "nothing is served at this path"))
    }

    fn socketio(&mut self, io: &Io) -> bool {
        (self.register)(io);
        true
    }
}
