//! Keys of issuers that are fetched: taking over those that have come, and asking for those that are missing. Fetching them is
//! the business of `backend/`.

use std::sync::Arc;

use super::gate::Gate;
use crate::{
    auth::{TokenError, TokenKey},
    backend::FetchedKeys,
    limits::JWKS_PATIENCE_MS,
};

impl Gate {
    /// Takes over keys of issuers that have been fetched.
    pub(super) fn take_keys(&mut self) {
        while let Some(FetchedKeys { issuer, url, keys }) = self.consults.next_keys() {
            self.put_remote(&issuer, &url, &keys);
        }
    }

    pub(super) fn put_remote(&mut self, issuer: &str, url: &str, keys: &Arc<[TokenKey]>) {
        // Others look at the one that all were given.
        let verifier = Arc::make_mut(&mut self.tokens.verifier);
        verifier.put_remote(issuer, url, keys);
    }

    /// No key fits a token. One that is fetched may have been made since then: asks for it, unless that was not long ago.
    pub(super) fn want_key_of(&mut self, token: &[u8], now_ms: u64) -> TokenError {
        let Some(remote) = self.tokens.verifier.remote_of(token) else { return TokenError::KeyUnknown };
        let (url, has_keys) = (remote.url.clone(), remote.keys.is_some());
        let since_ms = self.wanted_ms.map_or(u64::MAX, |wanted_ms| now_ms.saturating_sub(wanted_ms));
        if since_ms >= self.consults.want_keys_each_ms() {
            self.wanted_ms = Some(now_ms);
            self.consults.want_keys(&url);
            return TokenError::KeysPending;
        }
        match !has_keys || since_ms < JWKS_PATIENCE_MS {
            true => TokenError::KeysPending,
            false => TokenError::KeyUnknown,
        }
    }
}
