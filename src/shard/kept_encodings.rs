//! What large publications were encoded as: they are handed out in many turns, the same each time.

use std::{collections::VecDeque, rc::Rc};

use crate::{limits::ENCODINGS_KEPT_BYTES_MAX, ring::Encoded};

/// Encodings by what they are of, the oldest first; at most [`ENCODINGS_KEPT_BYTES_MAX`], or one.
pub(super) struct KeptEncodings<K>(VecDeque<(K, Rc<Encoded>)>);

impl<K> Default for KeptEncodings<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K> KeptEncodings<K> {
    /// The encoding of which this is true.
    pub(super) fn find(&self, is_it: impl Fn(&K) -> bool) -> Option<Rc<Encoded>> {
        self.0.iter().find(|(key, _)| is_it(key)).map(|(_, bytes)| Rc::clone(bytes))
    }

    /// Keeps one; the oldest go for it.
    pub(super) fn keep(&mut self, key: K, bytes: &Rc<Encoded>) {
        self.0.push_back((key, Rc::clone(bytes)));
        let bytes = |kept: &Self| kept.0.iter().map(|(_, bytes)| bytes.as_slice().len()).sum::<usize>();
        while self.0.len() > 1 && bytes(self) > ENCODINGS_KEPT_BYTES_MAX {
            self.0.pop_front();
        }
    }

    /// Everybody has everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
