//! A whole program that is a Socket.IO application and nothing else.

use super::Io;
use crate::{
    app::{Answer, Context, Handler, Peer, Request, Response, Verdict},
    model::ShardId,
};

/// A [`Handler`] that serves Socket.IO, and one page.
struct Application<F> {
    register: F,
    page: Option<&'static str>,
}

/// The handlers of a program that serves Socket.IO only, for [`crate::supervisor::serve`] and
/// [`crate::supervisor::Server::start`]. `register` is called once on each shard.
pub fn application<F>(register: F) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    handlers(None, register)
}

/// As [`application`], with an HTML page at `/`.
pub fn application_with_page<F>(
    page: &'static str,
    register: F,
) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    handlers(Some(page), register)
}

fn handlers<F>(
    page: Option<&'static str>,
    register: F,
) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    move |_| Box::new(Application { register: register.clone(), page })
}

impl<F: Fn(&Io)> Handler for Application<F> {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::Refuse(Response::text(404, "not found\n"))
    }

    fn request(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Answer {
        Answer::Respond(match self.page.filter(|_| request.path() == "/") {
            Some(page) => {
                Response { content_type: "text/html; charset=utf-8".into(), ..Response::text(200, page) }
            }
            None => Response::text(404, "not found\n"),
        })
    }

    fn socketio(&mut self, io: &Io) -> bool {
        (self.register)(io);
        true
    }
}
