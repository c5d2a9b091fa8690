//! How long a channel's publications are kept where that is not as everywhere.

/// What a rule says; what it leaves out is as everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many of a channel; 0 is none.
    pub publications_max: Option<u32>,
    /// How long, in milliseconds.
    pub age_max_ms: Option<u32>,
}
