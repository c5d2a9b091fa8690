//! Places in several channels at once, as one text: what somebody who follows several has to remember.

use std::fmt;

use super::{Position, PositionError};

/// Where somebody is in each of several channels, in the order in which they were named; `None` where that is not known.
/// Written `epoch:offset,epoch:offset,-`.
#[derive(Clone, Copy, Debug)]
pub struct Positions<I>(pub I);

/// Bytes of one of them with its comma: two numbers that JavaScript holds exactly have 16 digits each.
pub const POSITION_BYTES_MAX: usize = 34;

impl Positions<()> {
    /// Reads them.
    pub fn read(text: &str) -> Result<Vec<Option<Position>>, PositionError> {
        let read = |one: &str| match one {
            "-" => Ok(None),
            one => one.parse().map(Some),
        };
        text.split(',').map(read).collect()
    }
}

impl<I: Iterator<Item = Option<Position>> + Clone> fmt::Display for Positions<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, position) in self.0.clone().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match position {
                Some(position) => position.fmt(f)?,
                None => f.write_str("-")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_what_they_write_and_nothing_else() {
        let at = |epoch, offset| Some(Position { epoch, offset });
        let cases: [(&[Option<Position>], &str); 4] = [
            (&[at(17, 4)], "17:4"),
            (&[at(17, 4), None, at(1, 0)], "17:4,-,1:0"),
            (&[None], "-"),
            (&[None, None], "-,-"),
        ];
        for (positions, text) in cases {
            assert_eq!(Positions(positions.iter().copied()).to_string(), text);
            assert_eq!(Positions::read(text).as_deref(), Ok(positions));
        }
        for text in ["", ",", "17:4,", ",17:4", "17:4, 1:0", "17:4;1:0", "--", "17"] {
            assert_eq!(Positions::read(text), Err(PositionError), "{text:?}");
        }
    }

    #[test]
    fn a_position_is_not_longer_than_is_reckoned() {
        let longest = Position { epoch: (1 << 53) - 1, offset: (1 << 53) - 1 };
        assert_eq!(format!("{longest},").len(), POSITION_BYTES_MAX);
    }
}
