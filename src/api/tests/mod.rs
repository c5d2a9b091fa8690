//! Tests of the whole handler, without a socket: what it answers and what it asks for.

mod dashboard;
mod described;
mod following;
mod origins;
mod publishing;
mod questions;
mod resources;
mod several;
mod socketio;
mod websockets;

use super::{
    Settings,
    testing::{Rig, open_settings},
};
use crate::{app::Intent, auth::Policy, model::Payload};

/// Settings under which publishing needs one of two keys.
fn key_settings() -> Settings {
    let publish_keys = vec!["secret".into(), "other".into()];
    let policy = Policy { publish_open: false, ..open_settings().policy };
    Settings { policy, publish_keys, ..open_settings() }
}

/// What has been published since last asked: channel, payload, and which part of the question it is.
fn published(rig: &mut Rig) -> Vec<(String, Payload, Option<u32>)> {
    let question = rig.server.question;
    let publishes = rig.intents().into_iter().filter_map(|intent| match intent {
        Intent::Publish { channel, payload, ticket, .. } => {
            let part = ticket.map(|ticket| ticket.token.wrapping_sub(question));
            Some((channel.as_str().to_owned(), payload, part))
        }
        _ => None,
    });
    publishes.collect()
}
