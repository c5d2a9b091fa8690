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
    /// Takes over keys of issuers that have been fetched; tells whether there were any.
    pub(super) fn take_keys(&mut self) -> bool {
        let mut have_come = false;
        while let Some(FetchedKeys { issuer, url, keys }) = self.consults.next_keys() {
            have_come = true;
            self.put_remote(&issuer, &url, &keys);
        }
        have_come
    }

    pub(super) fn put_remote(&mut self, issuer: &str, url: &str, keys: &Arc<[TokenKey]>) {
        // Others look at the one that all were given.
        let verifier = Arc::make_mut(&mut self.tokens.verifier);
        verifier.put_remote(issuer, url, keys);
    }

    /// No key fits a token. One that is fetched may have been made since then: asks for it, unless its issuer was asked not
    /// long ago.
    pub(super) fn want_key_of(&mut self, token: &[u8], now_ms: u64) -> TokenError {
        let mut error = TokenError::KeyUnknown;
        // An issuer may have several sets, and any of them the key.
        for remote in self.tokens.verifier.remotes_of(token) {
            let wanted_ms = self.wanted_ms.get(&remote.url);
            let since_ms = wanted_ms.map_or(u64::MAX, |wanted_ms| now_ms.saturating_sub(*wanted_ms));
            if since_ms >= self.consults.want_keys_each_ms() {
                self.consults.want_keys(&remote.url);
                self.wanted_ms.insert(remote.url.clone(), now_ms);
                error = TokenError::KeysPending;
            } else if remote.keys.is_none() || since_ms < JWKS_PATIENCE_MS {
                error = TokenError::KeysPending;
            }
        }
        error
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
        let mut gate = gate(vec![remote("a"), remote("b")]);
        let mut ask = |issuer: &str, now_ms| gate.want_key_of(&token(issuer), now_ms);
        assert_eq!(ask("a", 0), TokenError::KeysPending);
        let late_ms = 2 * JWKS_PATIENCE_MS;
        assert_eq!(ask("a", late_ms), TokenError::KeyUnknown);
        assert_eq!(ask("b", late_ms), TokenError::KeysPending, "it is asked for, too");
        assert_eq!(ask("b", 2 * late_ms), TokenError::KeyUnknown);
        assert_eq!(ask("c", 0), TokenError::KeyUnknown, "it is nobody's");
    }

    #[test]
    fn every_set_of_an_issuer_is_asked_for_a_key_that_is_not_known() {
        let remote = |url: &str, has_keys: bool| RemoteKeys {
            issuer: "a".into(),
            url: url.into(),
            keys: has_keys.then(|| Arc::new([]) as Arc<[TokenKey]>),
        };
        let mut gate = gate(vec![remote("https://a/old", true), remote("https://a/new", false)]);
        assert_eq!(gate.want_key_of(&token("a"), 0), TokenError::KeysPending);
        let mut wanted: Vec<_> = gate.wanted_ms.keys().map(|url| &**url).collect();
        wanted.sort_unstable();
        assert_eq!(wanted, ["https://a/new", "https://a/old"]);
        let late_ms = 2 * JWKS_PATIENCE_MS;
        assert_eq!(gate.want_key_of(&token("a"), late_ms), TokenError::KeysPending, "one has not come yet");
        gate.put_remote("a", "https://a/new", &(Arc::new([]) as Arc<[TokenKey]>));
        assert_eq!(gate.want_key_of(&token("a"), late_ms), TokenError::KeyUnknown);
    }

    /// One that fetches these.
    fn gate(remotes: Vec<RemoteKeys>) -> Gate {
        let verifier = Arc::new(Verifier::new(Vec::new(), TokenRules::default()).with_remotes(remotes));
        Gate::new(Tokens { verifier, ..Tokens::default() }, Arc::default(), 0, None)
    }

    fn token(issuer: &str) -> Vec<u8> {
        let payload = URL_SAFE_NO_PAD.encode(format!("{{\"iss\":\"{issuer}\"}}"));
        format!("x.{payload}.x").into_bytes()
    }
}
