//! Which sockets there are, as Socket.IO's admin page shows them, and what has become of them since the last look.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::unix_ms;
use crate::app::socketio::{RemoteSocket, Socket};

/// Sockets by namespace and id.
pub(super) type Known = BTreeMap<(String, String), Seen>;

/// A socket, as the page shows it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) is_on_websocket: bool,
    rooms: BTreeSet<String>,
    data: Box<str>,
    pub(super) first_seen_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    id: &'a str,
    client_id: &'a str,
    transport: &'static str,
    nsp: &'a str,
    data: &'a RawValue,
    handshake: Handshake,
    rooms: &'a BTreeSet<String>,
}

/// What is not kept of a client shows empty.
#[derive(Serialize)]
struct Handshake {
    headers: BTreeMap<&'static str, &'static str>,
    query: BTreeMap<&'static str, &'static str>,
    issued: u64,
}

/// What has become of one socket.
pub(super) enum Change<'a> {
    Connected(&'a (String, String)),
    Updated(&'a (String, String)),
    Disconnected(&'a (String, String)),
    Joined(&'a (String, String), &'a str),
    Left(&'a (String, String), &'a str),
}

pub(super) fn changes<'a>(before: &'a Known, now: &'a Known) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    changes.extend(before.keys().filter(|place| !now.contains_key(*place)).map(Change::Disconnected));
    for (place, seen) in now {
        let Some(old) = before.get(place) else {
            changes.push(Change::Connected(place));
            continue;
        };
        if (old.is_on_websocket, &old.data) != (seen.is_on_websocket, &seen.data) {
            changes.push(Change::Updated(place));
        }
        changes.extend(seen.rooms.difference(&old.rooms).map(|room| Change::Joined(place, room)));
        changes.extend(old.rooms.difference(&seen.rooms).map(|room| Change::Left(place, room)));
    }
    changes
}

impl Change<'_> {
    pub(super) fn tell(&self, socket: &Socket, now: &Known, before: &Known) {
        let at = unix_ms();
        match self {
            Self::Connected(place) | Self::Updated(place) => {
                let Some(seen) = now.get(*place) else { return };
                match before.contains_key(*place) {
                    true => socket.emit("socket_updated", &seen.shown(place)),
                    false => socket.emit("socket_connected", &(seen.shown(place), at)),
                }
            }
            Self::Disconnected((nsp, id)) => socket.emit("socket_disconnected", &(nsp, id, "", at)),
            Self::Joined((nsp, id), room) => socket.emit("room_joined", &(nsp, room, id, at)),
            Self::Left((nsp, id), room) => socket.emit("room_left", &(nsp, room, id, at)),
        }
    }
}

impl Seen {
    pub(super) fn new(socket: &RemoteSocket) -> Self {
        let own = std::iter::once(socket.id().to_string());
        Self {
            is_on_websocket: socket.transport() == Some("websocket"),
            rooms: own.chain(socket.rooms().map(str::to_owned)).collect(),
            // The page expects an object.
            data: if socket.data_json() == "null" { "{}" } else { socket.data_json() }.into(),
            first_seen_ms: unix_ms(),
        }
    }

    pub(super) fn shown<'a>(&'a self, (nsp, id): &'a (String, String)) -> Shown<'a> {
        let (headers, query) = (BTreeMap::new(), BTreeMap::new());
        Shown {
            id,
            client_id: id,
            transport: if self.is_on_websocket { "websocket" } else { "polling" },
            nsp,
            data: serde_json::from_str(&self.data).unwrap_or(RawValue::NULL),
            handshake: Handshake { headers, query, issued: self.first_seen_ms },
            rooms: &self.rooms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rooms: &[&str], is_on_websocket: bool) -> Seen {
        let rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
        Seen { is_on_websocket, rooms, data: "null".into(), first_seen_ms: 1 }
    }

    fn place(id: &str) -> (String, String) {
        ("/".to_owned(), id.to_owned())
    }

    #[test]
    fn changes_are_who_has_come_and_gone_and_where_they_are() {
        let before = Known::from([
            (place("gone"), seen(&["gone"], true)),
            (place("moved"), seen(&["moved", "a"], false)),
            (place("still"), seen(&["still"], true)),
        ]);
        let now = Known::from([
            (place("come"), seen(&["come"], true)),
            (place("moved"), seen(&["moved", "b"], true)),
            (place("still"), seen(&["still"], true)),
        ]);
        let told: Vec<_> = changes(&before, &now)
            .iter()
            .map(|change| match change {
                Change::Connected((_, id)) => format!("+{id}"),
                Change::Updated((_, id)) => format!("~{id}"),
                Change::Disconnected((_, id)) => format!("-{id}"),
                Change::Joined((_, id), room) => format!("{id}>{room}"),
                Change::Left((_, id), room) => format!("{id}<{room}"),
            })
            .collect();
        assert_eq!(told, ["-gone", "+come", "~moved", "moved>b", "moved<a"]);
        assert!(changes(&now, &now).is_empty());
    }
}
