//! A place in a channel's stream.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A place in a channel's stream: everything up to and including `offset` has been seen.
///
/// Offsets are consecutive within an epoch and start at 1; offset 0 is the place before the first publication. The
/// epoch changes if and only if the stream was lost. Written `epoch:offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Position {
    /// Names one unbroken life of the stream; below 2⁵³ so that JavaScript holds it exactly.
    pub epoch: u64,
    /// The number of publications of this epoch up to here.
    pub offset: u64,
}

impl Position {
    /// The place a client names that was given its position by somebody else: in no epoch there ever is, so that it is
    /// told of a gap as one that comes back to an old epoch is.
    pub const FOREIGN: Self = Self { epoch: u64::MAX, offset: 0 };
}

/// A text that is not `epoch:offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, offset) = text.split_once(':').ok_or(PositionError)?;
        let digits = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().map_err(|_| PositionError),
            false => Err(PositionError),
        };
        Ok(Self { epoch: digits(epoch)?, offset: digits(offset)? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is written epoch:offset, two decimal numbers")
    }
}

impl std::error::Error for PositionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_what_it_writes_and_nothing_else() {
        let position = Position { epoch: 17, offset: 4 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", ":", "1", "1:", ":1", "+1:2", "1:-2", "1:2:3", " 1:2", "1:99999999999999999999999"] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text:?}");
        }
    }
}
