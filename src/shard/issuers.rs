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

    /// No key fits a token. One that is fetched may have been made since then: asks for it, unless its issuer was asked not
    /// long ago.
    pub(super) fn want_key_of(&mut self, token: &[u8], now_ms: u64) -> TokenError {
        let Some(remote) = self.tokens.verifier.remote_of(token) else { return TokenError::KeyUnknown };
        let (url, has_keys) = (remote.url.clone(), remote.keys.is_some());
        let wanted_ms = self.wanted_ms.get(&url);
        let since_ms = wanted_ms.map_or(u64::MAX, |wanted_ms| now_ms.saturating_sub(*wanted_ms));
        if since_ms >= self.consults.want_keys_each_ms() {
            self.consults.want_keys(&url);
            self.wanted_ms.insert(url, now_ms);
            return TokenError::KeysPending;
        }
        match !has_keys || since_ms < JWKS_PATIENCE_MS {
            true => TokenError::KeysPending,
            false => TokenError::KeyUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;
    use crate::{
        auth::{RemoteKeys, TokenRules, Verifier},
        live::Tokens,
    };

    #[test]
    fn a_flood_of_tokens_of_one_issuer_keeps_no_other_issuers_keys_from_being_asked_for() {
        let remote = |issuer: &str| RemoteKeys {
            issuer: issuer.into(),
            url: format!("https://{issuer}/keys").into(),
            keys: Some(Arc::new([])),
        };
        let verifier = Verifier::new(Vec::new(), TokenRules::default());
        let verifier = Arc::new(verifier.with_remotes(vec![remote("a"), remote("b")]));
        let mut gate = Gate::new(Tokens { verifier, ..Tokens::default() }, Arc::default(), 0, None);
        let token = |issuer: &str| {
            let payload = URL_SAFE_NO_PAD.encode(format!("{{\"iss\":\"{issuer}\"}}"));
            format!("x.{payload}.x").into_bytes()
        };
        let mut ask = |issuer: &str, now_ms| gate.want_key_of(&token(issuer), now_ms);
        assert_eq!(ask("a", 0), TokenError::KeysPending);
        let late_ms = 2 * JWKS_PATIENCE_MS;
        assert_eq!(ask("a", late_ms), TokenError::KeyUnknown);
        assert_eq!(ask("b", late_ms), TokenError::KeysPending, "it is asked for, too");
        assert_eq!(ask("b", 2 * late_ms), TokenError::KeyUnknown);
        assert_eq!(ask("c", 0), TokenError::KeyUnknown, "it is nobody's");
    }
}
