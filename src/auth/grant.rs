//! The rights somebody brings: from a token, or from a publishing key.

use std::fmt;

use super::Pattern;

/// What can be done with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Follow it, and get what was missed since a position.
    Subscribe,
    /// Publish to it.
    Publish,
    /// Know that it is there, how many follow it, and who.
    Presence,
    /// Read what is kept of it.
    History,
    /// Read its state.
    State,
    /// Change its state.
    SetState,
    /// Be shown as present.
    Enter,
}

/// The channels for each right, as patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grant {
    patterns: [Box<[Pattern]>; Right::ALL.len()],
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 7] = [
        Self::Subscribe,
        Self::Publish,
        Self::Presence,
        Self::History,
        Self::State,
        Self::SetState,
        Self::Enter,
    ];

    /// As tokens and the configuration name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
            Self::State => "state",
            Self::SetState => "set_state",
            Self::Enter => "enter",
        }
    }

    /// The code of a refusal for want of it.
    pub fn missing_code(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe_forbidden",
            Self::Publish => "publish_forbidden",
            Self::Presence => "presence_forbidden",
            Self::History => "history_forbidden",
            Self::State => "state_forbidden",
            Self::SetState => "set_state_forbidden",
            Self::Enter => "enter_forbidden",
        }
    }
}

impl Grant {
    /// One right for the channels of these patterns, in addition to what there is.
    pub fn with(mut self, right: Right, patterns: Vec<Pattern>) -> Self {
        self.patterns[right as usize] = patterns.into();
        self
    }

    /// The patterns of the channels for a right.
    pub fn patterns(&self, right: Right) -> &[Pattern] {
        &self.patterns[right as usize]
    }

    /// Whether a channel is among those for a right.
    pub fn allows(&self, right: Right, channel: &str) -> bool {
        self.patterns[right as usize].iter().any(|pattern| pattern.fits(channel))
    }

    /// Whether a right is given for some channel.
    pub fn allows_some(&self, right: Right) -> bool {
        !self.patterns[right as usize].is_empty()
    }

    /// Whether a right is given for every channel.
    pub fn allows_every(&self, right: Right) -> bool {
        self.patterns[right as usize].iter().any(Pattern::is_every)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
