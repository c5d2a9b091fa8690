//! How much one turn of a shard hears of its clients.

use super::{PACKETS_PER_TURN, RECEIVE_BUFFERS};

/// Pieces of what clients send that a shard hears in one turn, some milliseconds of a core: requests, frames, packets of
/// posts, and [`HEARD_BYTES_PER_PIECE`]. What is left waits for the next turns, and who has sent it is not read meanwhile.
pub const HEARD_PER_TURN: usize = 2_048;
/// Those of one connection that are heard before others have their turn, while less than a quarter of them has been heard.
pub const HEARD_AT_ONCE: usize = 256;
/// The same, when more has been heard in this turn.
pub const HEARD_AT_ONCE_BUSY: usize = 32;
/// The same, when all has been heard: of what has come, and is not much, nothing has to wait.
pub const HEARD_BEYOND: usize = 4;
/// The most pieces that are heard in one turn, with what had been received when it had heard enough.
pub const HEARD_PER_TURN_MAX: usize =
    HEARD_PER_TURN + HEARD_AT_ONCE + RECEIVE_BUFFERS as usize * 3 * HEARD_BEYOND + PACKETS_PER_TURN;
/// Bytes received that take as long as a piece.
pub const HEARD_BYTES_PER_PIECE: usize = 2_048;
