//! What is tried with tokens, and what becomes of it: one row each.

use std::sync::OnceLock;

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_KEYS_TRIED_MAX, TOKEN_PATTERNS_MAX};

const NOW_S: u64 = 1_790_000_000;
const ISSUER: &str = "https://login.example";
const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

/// A key of one algorithm, both halves.
struct Pair {
    signed: Signed,
    algorithm: Algorithm,
    private: EncodingKey,
    public_pem: Vec<u8>,
    /// As a JSON Web Key.
    jwk: Value,
}

/// A private key, and the public one in PEM.
fn pairs() -> &'static [Pair; 3] {
    static PAIRS: OnceLock<[Pair; 3]> = OnceLock::new();
    let pem = |der: &[u8]| {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
            .into_bytes()
    };
    PAIRS.get_or_init(|| {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("it is");
        let ec = Pair {
            signed: Signed::Es256,
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_der(document.as_ref()),
            public_pem: pem(pair.public_key().as_der().expect("it can").as_ref()),
            jwk: {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
            },
        };
        let document = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("it is");
        let ed = Pair {
            signed: Signed::EdDsa,
            algorithm: Algorithm::EdDSA,
            private: EncodingKey::from_ed_der(document.as_ref()),
            public_pem: pem(pair.public_key().as_der().expect("it can").as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key())}),
        };
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect("it can");
        let rsa = Pair {
            signed: Signed::Rs256,
            algorithm: Algorithm::RS256,
            private: EncodingKey::from_rsa_der(inner_of_pkcs8(private.as_ref())),
            public_pem: pem(pair.public_key().as_der().expect("it can").as_ref()),
            jwk: {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
                json!({
                    "kty": "RSA",
                    "n": encode(n.big_endian_without_leading_zero()),
                    "e": encode(e.big_endian_without_leading_zero()),
                })
            },
        };
        [ec, ed, rsa]
    })
}

/// The key inside of PKCS#8 (RFC 5208 §5), which is what the `jsonwebtoken` crate takes for RSA: the last octet string.
fn inner_of_pkcs8(der: &[u8]) -> &[u8] {
    let start =
        der.windows(4).position(|window| window == [0x02, 0x01, 0x00, 0x02]).expect("an RSAPrivateKey");
    &der[start - 4..]
}

fn rules() -> TokenRules {
    TokenRules {
        audience: "roadstead".into(),
        clock_skew_s: 30,
        lifetime_max_s: 86_400,
        user_prefixes: Vec::new(),
    }
}

/// A verifier that knows the secret and every public key of the issuer.
fn verifier() -> Verifier {
    let mut keys = vec![TokenKey::secret(Some(ISSUER), Some("hs"), SECRET).expect("long enough")];
    for pair in pairs() {
        let key = TokenKey::pem(Some(ISSUER), Some("asymmetric"), pair.signed, &pair.public_pem);
        keys.push(key.expect("a public key"));
    }
    Verifier::new(keys, rules())
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "42", "aud": "roadstead", "exp": NOW_S + 600, "allow": {"subscribe": ["news:*"]}})
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::String(text) if text == "(none)" => {
                drop(claims.as_object_mut().expect("one").remove(name))
            }
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn hs256(claims: &Value) -> String {
    signed_with(json!({"alg": "HS256", "kid": "hs"}), claims, SECRET)
}

/// Signed by HMAC with any bytes, under any header.
fn signed_with(header: Value, claims: &Value, secret: &[u8]) -> String {
    signed_text(&header.to_string(), &claims.to_string(), secret)
}

fn signed_text(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("it can");
    format!("{message}.{signature}")
}

fn verify(token: &str) -> Result<Verified, TokenError> {
    verifier().verify(token.as_bytes(), NOW_S, &mut 0)
}

#[track_caller]
fn refuses(token: &str, error: TokenError) {
    assert_eq!(verify(token).map(|verified| verified.user), Err(error), "{token}");
}

#[test]
fn a_token_of_every_algorithm_is_good_and_says_who_and_what() {
    let verified =
        verify(&hs256(&with(json!({"jti": "t", "iat": NOW_S, "info": {"name": "A"}})))).expect("good");
    assert_eq!((&*verified.user, verified.id.as_deref(), verified.issued_s), ("42", Some("t"), Some(NOW_S)));
    assert!(
        verified.grant().allows(Right::Subscribe, "news:a")
            && !verified.grant().allows(Right::Publish, "news:a")
    );
    assert_eq!(verified.claims.info.as_deref(), Some(r#"{"name":"A"}"#));
    for pair in pairs() {
        let header = Header { kid: Some("asymmetric".into()), ..Header::new(pair.algorithm) };
        let token = jsonwebtoken::encode(&header, &claims(), &pair.private).expect("it can sign");
        assert_eq!(verify(&token).map(|verified| verified.user), Ok("42".into()), "{:?}", pair.signed);
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let (header, _) = message.split_once('.').expect("two");
        let other = URL_SAFE_NO_PAD.encode(with(json!({"sub": "43"})).to_string());
        refuses(&format!("{header}.{other}.{signature}"), TokenError::Signature);
        refuses(&format!("{message}."), TokenError::Signature);
    }
}

#[test]
fn a_token_that_is_not_signed_or_says_so_is_refused() {
    for alg in ["none", "None", "nOnE", "", "HS512", "ES384", "PS256"] {
        let token = signed_with(json!({"alg": alg, "kid": "hs"}), &claims(), SECRET);
        let (message, _) = token.rsplit_once('.').expect("three parts");
        for text in [&token, &format!("{message}.")] {
            refuses(text, TokenError::Algorithm);
        }
    }
    let token = hs256(&claims());
    let (message, _) = token.rsplit_once('.').expect("three parts");
    for signature in ["", "AA", "!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        refuses(&format!("{message}.{signature}"), TokenError::Signature);
    }
}

#[test]
fn a_public_key_is_no_secret_and_a_key_is_for_its_own_algorithm_alone() {
    for pair in pairs() {
        for kid in ["asymmetric", "hs"] {
            // Confusion of algorithms: HMAC with what everybody may know.
            let token = signed_with(json!({"alg": "HS256", "kid": kid}), &claims(), &pair.public_pem);
            let expected = if kid == "hs" { TokenError::Signature } else { TokenError::KeyUnknown };
            refuses(&token, expected);
        }
        let others = pairs().iter().filter(|other| other.signed != pair.signed);
        for other in others {
            let name = serde_json::to_value(other.algorithm).expect("a name");
            let header = Header { kid: Some("asymmetric".into()), ..Header::new(pair.algorithm) };
            let token = jsonwebtoken::encode(&header, &claims(), &pair.private).expect("it can sign");
            let parts: Vec<_> = token.split('.').collect();
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": name, "kid": "asymmetric"}).to_string());
            refuses(&format!("{header}.{}.{}", parts[1], parts[2]), TokenError::Signature);
        }
    }
}

#[test]
fn where_a_token_says_its_key_is_nobody_looks() {
    let own = b"a secret of the attacker, thirty-two bytes";
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(own), "kid": "hs", "alg": "HS256"});
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/keys.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["AAAA"])),
    ] {
        let header = json!({"alg": "HS256", "kid": "hs", name: value});
        refuses(&signed_with(header.clone(), &claims(), own), TokenError::Signature);
        assert!(verify(&signed_with(header, &claims(), SECRET)).is_ok(), "{name} is not even read");
    }
    refuses(
        &signed_with(json!({"alg": "HS256", "kid": "../../dev/null"}), &claims(), b""),
        TokenError::KeyUnknown,
    );
    let critical = json!({"alg": "HS256", "kid": "hs", "crit": ["exp"]});
    refuses(&signed_with(critical, &claims(), SECRET), TokenError::Header);
    refuses(
        &signed_with(json!({"alg": "HS256", "kid": "hs", "typ": "dpop+jwt"}), &claims(), SECRET),
        TokenError::Header,
    );
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(
            verify(&signed_with(json!({"alg": "HS256", "kid": "hs", "typ": typ}), &claims(), SECRET)).is_ok()
        );
    }
}

#[test]
fn a_foreign_issuer_with_the_same_kid_is_judged_by_its_own_keys() {
    let theirs: &[u8] = b"a secret of the other issuer, long enough";
    let keys = vec![
        TokenKey::secret(Some(ISSUER), Some("1"), SECRET).expect("long enough"),
        TokenKey::secret(Some("https://other.example"), Some("1"), theirs).expect("long enough"),
    ];
    let verifier = Verifier::new(keys, rules());
    let verify = |issuer: &str, secret: &[u8]| {
        let token = signed_with(json!({"alg": "HS256", "kid": "1"}), &with(json!({ "iss": issuer })), secret);
        verifier.verify(token.as_bytes(), NOW_S, &mut 0).map(drop)
    };
    assert_eq!(verify(ISSUER, SECRET), Ok(()));
    assert_eq!(verify("https://other.example", theirs), Ok(()));
    assert_eq!(verify(ISSUER, theirs), Err(TokenError::Signature), "they speak for themselves alone");
    assert_eq!(verify("https://other.example", SECRET), Err(TokenError::Signature));
    for nobody in ["", "https://login.example/", "HTTPS://LOGIN.EXAMPLE", "https://third.example"] {
        assert_eq!(verify(nobody, SECRET), Err(TokenError::KeyUnknown), "{nobody}");
    }
}

#[test]
fn a_claim_of_the_wrong_type_does_not_count_as_absent() {
    let soon = NOW_S + 600;
    for changes in [
        json!({"exp": "(none)"}),
        json!({"exp": soon.to_string()}),
        json!({"exp": null}),
        json!({"exp": [soon]}),
        json!({"exp": {}}),
        json!({"exp": -1}),
        json!({"exp": 1e300}),
        json!({"exp": true}),
        json!({"nbf": "0"}),
        json!({"nbf": null}),
        json!({"iat": {}}),
        json!({"sub": "(none)"}),
        json!({"sub": 42}),
        json!({"sub": ["42"]}),
        json!({"sub": null}),
        json!({"jti": 7}),
        json!({"aud": 7}),
        json!({"aud": {"roadstead": true}}),
        json!({"aud": null}),
        json!({"allow": "news:*"}),
        json!({"allow": {"subscribe": "news:*"}}),
        json!({"allow": {"subscribe": [7]}}),
        json!({"allow": null}),
    ] {
        refuses(&hs256(&with(changes)), TokenError::Claim(ClaimsFault::Type));
    }
    for sub in ["", &"x".repeat(256)] {
        refuses(&hs256(&with(json!({ "sub": sub }))), TokenError::Claim(ClaimsFault::User));
    }
    let twice = format!(r#"{{"iss":"{ISSUER}","sub":"42","sub":"43","aud":"roadstead","exp":{soon}}}"#);
    refuses(
        &signed_text(r#"{"alg":"HS256","kid":"hs"}"#, &twice, SECRET),
        TokenError::Claim(ClaimsFault::Type),
    );
    refuses(&hs256(&with(json!({"iss": 7}))), TokenError::Malformed);
    for (pattern, error) in [("news*", PatternError::PartOfSegment), ("user:{sub}", PatternError::Subject)] {
        let token = hs256(&with(json!({"allow": {"publish": [pattern]}})));
        refuses(&token, TokenError::Claim(ClaimsFault::Pattern(error)));
    }
    let patterns = |count| hs256(&with(json!({"allow": {"subscribe": vec!["a"; count]}})));
    assert!(verify(&patterns(TOKEN_PATTERNS_MAX)).is_ok());
    refuses(&patterns(TOKEN_PATTERNS_MAX + 1), TokenError::Claim(ClaimsFault::Patterns));
}

#[test]
fn a_token_is_for_us_or_it_is_refused() {
    for audience in [json!("roadstead"), json!(["other", "roadstead"])] {
        assert!(verify(&hs256(&with(json!({ "aud": audience })))).is_ok(), "{audience}");
    }
    for audience in
        [json!("(none)"), json!(""), json!([]), json!("roadstead2"), json!(["other"]), json!("Roadstead")]
    {
        refuses(&hs256(&with(json!({ "aud": audience }))), TokenError::Audience);
    }
    let keys = vec![TokenKey::secret(None, None, SECRET).expect("long enough")];
    let nobodys = Verifier::new(keys, TokenRules { audience: String::new(), ..rules() });
    let verify = |changes| nobodys.verify(hs256(&with(changes)).as_bytes(), NOW_S, &mut 0).map(drop);
    assert_eq!(verify(json!({"aud": "(none)"})), Ok(()));
    assert_eq!(verify(json!({"aud": "roadstead"})), Err(TokenError::Audience), "it is somebody else's");
    assert_eq!(verify(json!({"aud": ""})), Err(TokenError::Audience));
}

#[test]
fn time_is_kept_to_the_second_with_the_difference_of_clocks() {
    let at = |changes: Value| verify(&hs256(&with(changes))).map(|verified| verified.expires_s);
    for (exp, outcome) in [
        (json!(NOW_S - 29), Ok(NOW_S - 29)),
        (json!(NOW_S - 30), Err(TokenError::Expired)),
        (json!((NOW_S - 29) as f64 + 0.5), Ok(NOW_S - 29)),
        (json!(0), Err(TokenError::Expired)),
        (json!(NOW_S + 86_430), Ok(NOW_S + 86_430)),
        (json!(NOW_S + 86_431), Err(TokenError::Lifetime)),
        (json!(u64::MAX), Err(TokenError::Lifetime)),
    ] {
        assert_eq!(at(json!({ "exp": exp })), outcome, "{exp}");
    }
    assert!(at(json!({"nbf": NOW_S + 30})).is_ok());
    assert_eq!(at(json!({"nbf": NOW_S + 31})), Err(TokenError::NotYet));
}

#[test]
fn what_is_no_token_is_told_from_what_is() {
    let good = hs256(&claims());
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "eyJ.eyJ.eyJ",
        "eyJhbGciOiJIUzI1NiJ9",
        &good[1..],
        &format!("{good}.x"),
        "ä.b.c",
    ] {
        let refused = verify(text).map(drop).expect_err(text);
        assert!(matches!(refused, TokenError::Malformed | TokenError::Signature), "{text}: {refused:?}");
    }
    for (header, claims) in [("[]", "{}"), ("{}", "{}"), (r#"{"alg":7}"#, "{}"), (r#"{"alg":"HS256"}"#, "7")]
    {
        refuses(&signed_text(header, claims, SECRET), TokenError::Malformed);
    }
    let padded =
        format!("{}==.{}", good.split_once('.').expect("three").0, good.split_once('.').expect("three").1);
    refuses(&padded, TokenError::Malformed);
    refuses(&"x".repeat(TOKEN_BYTES_MAX + 1), TokenError::TooLong);
    let verifier = verifier();
    assert!(
        verifier.is_token(good.as_bytes()) && !verifier.is_token(b"a-key") && !verifier.is_token(b"eyJ.b")
    );
    assert!(!Verifier::default().is_token(good.as_bytes()), "where there are no tokens it may be a key");
}

#[test]
fn floods_cost_little_unknown_kids_no_signature_and_unnamed_ones_a_few() {
    let cost = |verifier: &Verifier, kid: Option<&str>| {
        let mut cost_us = 0;
        let token = signed_with(json!({"alg": "ES256", "kid": kid}), &claims(), SECRET);
        let refused = verifier.verify(token.as_bytes(), NOW_S, &mut cost_us).map(drop);
        (refused, cost_us)
    };
    let pem = &pairs()[0].public_pem;
    let key = |kid: usize| TokenKey::pem(Some(ISSUER), Some(&kid.to_string()), Signed::Es256, pem);
    let keys: Vec<_> = (0..50).map(|kid| key(kid).expect("a public key")).collect();
    let verifier = Verifier::new(keys, rules());
    for kid in 1000..1100 {
        let (refused, cost_us) = cost(&verifier, Some(&kid.to_string()));
        assert_eq!(refused, Err(TokenError::KeyUnknown));
        assert!(cost_us < 10, "{cost_us}");
    }
    let (refused, cost_us) = cost(&verifier, Some("7"));
    assert_eq!(refused, Err(TokenError::Signature));
    let (_, unnamed_us) = cost(&verifier, None);
    assert!(unnamed_us <= TOKEN_KEYS_TRIED_MAX as u32 * cost_us, "{unnamed_us} {cost_us}");
}

#[test]
fn a_set_of_keys_gives_each_its_own_algorithm_and_no_secret() {
    let jwk = |pair: &Pair, kid: &str| {
        let mut jwk = pair.jwk.clone();
        jwk["kid"] = json!(kid);
        jwk
    };
    let [ec, ed, rsa] = pairs();
    let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let mut encrypting = jwk(rsa, "enc");
    encrypting["use"] = json!("enc");
    let mut misnamed = jwk(rsa, "misnamed");
    misnamed["alg"] = json!("RS512");
    let set = json!({"keys": [jwk(ec, "ec"), jwk(ed, "ed"), jwk(rsa, "rsa"), secret, encrypting, misnamed]});
    let keys = TokenKey::set(Some(ISSUER), set.to_string().as_bytes()).expect("it has keys");
    assert_eq!(keys.len(), 3, "{keys:?}");
    let verifier = Verifier::new(keys, rules());
    let verify = |token: &str| verifier.verify(token.as_bytes(), NOW_S, &mut 0).map(drop);
    for (pair, kid) in [(ec, "ec"), (ed, "ed"), (rsa, "rsa")] {
        let header = Header { kid: Some(kid.into()), ..Header::new(pair.algorithm) };
        assert_eq!(
            verify(&jsonwebtoken::encode(&header, &claims(), &pair.private).expect("it signs")),
            Ok(())
        );
    }
    assert_eq!(
        verify(&signed_with(json!({"alg": "HS256", "kid": "s"}), &claims(), SECRET)),
        Err(TokenError::KeyUnknown)
    );
    for (json, error) in [
        ("[]", TokenKeyError::Set),
        ("{\"keys\":[]}", TokenKeyError::SetEmpty),
        (&*json!({"keys": [secret]}).to_string(), TokenKeyError::SetEmpty),
    ] {
        assert_eq!(TokenKey::set(Some(ISSUER), json.as_bytes()).map(drop), Err(error), "{json}");
    }
}

#[test]
fn what_is_no_key_is_refused_when_it_is_read() {
    assert_eq!(TokenKey::secret(None, None, &[7; 31]).map(drop), Err(TokenKeyError::SecretTooShort));
    assert!(TokenKey::secret(None, None, &[7; 32]).is_ok());
    for pair in pairs() {
        for other in pairs().iter().filter(|other| other.signed != pair.signed) {
            let read = TokenKey::pem(Some(ISSUER), None, other.signed, &pair.public_pem);
            assert_eq!(read.map(drop), Err(TokenKeyError::Pem), "{:?} as {:?}", pair.signed, other.signed);
        }
        assert_eq!(TokenKey::pem(None, None, pair.signed, b"-----BEGIN").map(drop), Err(TokenKeyError::Pem));
    }
}
