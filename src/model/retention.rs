//! What the channels of a namespace keep, where that is not as everywhere.

/// What a rule says; what it leaves out is as everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many publications of a channel; 0 is none.
    pub publications_max: Option<u32>,
    /// How long, in milliseconds.
    pub age_max_ms: Option<u32>,
    /// Keys of a channel's state; 0 is none.
    pub state_keys_max: Option<u32>,
    /// Bytes of those with their values.
    pub state_bytes_max: Option<u32>,
    /// Members of a channel; 0 is none.
    pub members_max: Option<u32>,
}
