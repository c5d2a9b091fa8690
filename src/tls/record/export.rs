//! An established connection on its way to another process of this server: all that is kept of it, as bytes.
//!
//! ```text
//!   [ sending: key, secret, iv, numbers │ receiving: the same │ begun message │ its length │ marks ]
//! ```
//!
//! These bytes are as good as the keys. They are written once, to memory that never moves and is zeroed, and read from such
//! memory into the place where the record stays, so that no copy is left behind; whoever holds them says where they may go.

use super::{Alert, Direction, Marks, Record};

/// Bytes of a record that goes to another process.
pub const EXPORT_BYTES: usize = 2 * Direction::EXPORT_BYTES + 6;

impl Record {
    /// Appends keys and counters to `out`, which is to be zeroed by its owner. What seals or opens another record from now on is
    /// whoever imports them, and nobody else.
    ///
    /// # Panics
    ///
    /// When `out` has no room for [`EXPORT_BYTES`]: a vector that grows leaves its bytes behind.
    pub fn export(&self, out: &mut Vec<u8>) {
        assert!(out.capacity() - out.len() >= EXPORT_BYTES, "keys are written to memory that does not move");
        self.send.export(out);
        self.receive.export(out);
        out.extend_from_slice(&self.message);
        out.extend_from_slice(&[self.message_len, self.marks.0]);
    }

    /// Goes on with what another process has exported; `None` when it is not that, or of a connection that was ending.
    pub fn import(bytes: &[u8]) -> Option<Box<Self>> {
        let (send, rest) = bytes.split_first_chunk()?;
        let (receive, rest) = rest.split_first_chunk()?;
        let (message, rest) = rest.split_first_chunk()?;
        let &[message_len, marks] = rest else { return None };
        // Filled in where it stays.
        let mut record = Box::new(Self {
            send: Direction::empty(),
            receive: Direction::empty(),
            message: *message,
            message_len,
            marks: Marks(marks),
            farewell: Alert::CloseNotify,
        });
        let is_whole = record.send.import(send) && record.receive.import(receive);
        let is_open = marks & !Marks::OF_OPEN == 0 && usize::from(message_len) <= message.len();
        (is_whole && is_open).then_some(record)
    }

    /// Whether both sides may say more, so that another process can go on.
    pub fn is_open(&self) -> bool {
        !self.has_ended() && !self.has_said_farewell()
    }
}
