//! Bodies that pass bit by bit: of requests as they come ([`super::uploads`]), of answers as they are written
//! ([`super::bit_by_bit`]).

use rustc_hash::FxHashMap;

use crate::{
    app::{UploadSource, socketio::Room},
    wire::http1::BodyDecoder,
};

/// A body that is on its way.
pub(super) struct Uploading {
    pub(super) body: BodyDecoder,
    pub(super) source: UploadSource,
}

/// The bodies under way on a shard, by their connections. Mostly there are none, and asking costs nothing then.
#[derive(Default)]
pub(super) struct Bodies {
    /// Those that come.
    uploads: FxHashMap<u32, Uploading>,
    /// Who waits for room for the next part of one that goes.
    awaiting_room: FxHashMap<u32, Room>,
}

impl Bodies {
    /// One comes on a connection.
    pub(super) fn begin_upload(&mut self, index: u32, upload: Uploading) {
        self.uploads.insert(index, upload);
    }

    /// That which comes on a connection.
    pub(super) fn upload(&mut self, index: u32) -> Option<&mut Uploading> {
        self.uploads.get_mut(&index)
    }

    /// Whether one comes on a connection.
    pub(super) fn is_uploading(&self, index: u32) -> bool {
        !self.uploads.is_empty() && self.uploads.contains_key(&index)
    }

    /// No more comes: whoever takes it is told so.
    pub(super) fn end_upload(&mut self, index: u32) {
        if !self.uploads.is_empty() {
            self.uploads.remove(&index);
        }
    }

    /// Somebody waits for room.
    pub(super) fn await_room(&mut self, index: u32, room: Room) {
        self.awaiting_room.insert(index, room);
    }

    /// Who waits for room on a connection, and does so no more.
    pub(super) fn take_room(&mut self, index: u32) -> Option<Room> {
        (!self.awaiting_room.is_empty()).then(|| self.awaiting_room.remove(&index)).flatten()
    }
}
