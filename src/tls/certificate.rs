//! One certificate with its key, read from files and checked as far as it can be without a client.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    InconsistentKeys, SignatureAlgorithm,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and behind it those that lead to a root, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM. May be the same file.
    pub key: PathBuf,
}

/// A certificate that cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    /// The file at fault.
    pub path: PathBuf,
    /// The other one of the two.
    pub beside: PathBuf,
    /// What is wrong.
    pub fault: CertificateFault,
}

/// What can be wrong with a certificate or its key.
#[derive(Debug)]
pub enum CertificateFault {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// The file holds no certificate.
    NoCertificate,
    /// The file holds no key.
    NoKey,
    /// The key asks for a passphrase.
    EncryptedKey,
    /// The key is of a kind that is not used for TLS, or is none.
    UnusableKey,
    /// The certificate is none of X.509 version 3.
    UnusableCertificate,
    /// The key belongs to another certificate.
    OtherKey,
}

/// A certificate that can be used.
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The names it is for, in lower case; one may begin with `*.`.
    pub(super) names: Vec<String>,
    /// Signing with it is expensive: it is used for clients that can do no other.
    pub(super) is_rsa: bool,
    /// From when until when it is good, in seconds since 1970.
    pub(super) validity: Option<(i64, i64)>,
}

impl Certificate {
    /// Reads and checks.
    pub(super) fn read(
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let of_chain = |fault| {
            let (path, beside) = (files.chain.clone(), files.key.clone());
            CertificateError { path, beside, fault }
        };
        let of_key = |fault| {
            let (path, beside) = (files.key.clone(), files.chain.clone());
            CertificateError { path, beside, fault }
        };
        let chain = read_chain(&files.chain).map_err(of_chain)?;
        let key = read_key(&files.key).map_err(of_key)?;
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|_| of_key(CertificateFault::UnusableKey))?;
        let is_rsa = signing.algorithm() == SignatureAlgorithm::RSA;
        let key = CertifiedKey::new(chain, signing);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(of_key(CertificateFault::OtherKey)),
            Err(_) => return Err(of_chain(CertificateFault::UnusableCertificate)),
        }
        let leaf = key.end_entity_cert().map_err(|_| of_chain(CertificateFault::NoCertificate))?;
        let parsed = webpki::EndEntityCert::try_from(leaf)
            .map_err(|_| of_chain(CertificateFault::UnusableCertificate))?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let validity = validity(leaf);
        Ok(Self { names, is_rsa, validity, key: Arc::new(key) })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let text = fs::read(path).map_err(CertificateFault::Unreadable)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateFault::NoCertificate)?;
    if chain.is_empty() { Err(CertificateFault::NoCertificate) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateFault> {
    let text = Zeroizing::new(fs::read(path).map_err(CertificateFault::Unreadable)?);
    let encrypted: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| memchr::memmem::find(&text, mark).is_some()) {
        return Err(CertificateFault::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateFault::NoKey,
        _ => CertificateFault::UnusableKey,
    })
}

/// From when until when a certificate is good. Of its structure (RFC 5280 §4.1) only what lies before is looked at.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // The serial number, the signature's algorithm, the issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (SEQUENCE, validity, _) = element(fields)? else { return None };
    let (kind, from, rest) = element(validity)?;
    let (until_kind, until, _) = element(rest)?;
    Some((seconds(kind, from)?, seconds(until_kind, until)?))
}

/// The first DER element: its tag, what it holds, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, len, rest @ ..] = der else { return None };
    let (len, rest) = match len {
        len @ 0..=127 => (usize::from(*len), rest),
        len => {
            let (bytes, rest) = rest.split_at_checked(usize::from(len & 127))?;
            if bytes.len() > 4 {
                return None;
            }
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    let (held, rest) = rest.split_at_checked(len)?;
    Some((*tag, held, rest))
}

/// A UTCTime or a GeneralizedTime, to the second and in UTC, as certificates have them (RFC 5280 §4.1.2.5).
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 23;
    const GENERALIZED_TIME: u8 = 24;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    // Days since 1970, with years that begin in March, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, beside) = (self.path.display(), self.beside.display());
        match &self.fault {
            CertificateFault::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "{path}: may not be read by this user; let it, with `chgrp` and `chmod 640`, or run as a user who may"
            ),
            CertificateFault::Unreadable(error) => write!(f, "{path}: cannot be read: {error}"),
            CertificateFault::NoCertificate => write!(
                f,
                "{path}: holds no certificate in PEM (-----BEGIN CERTIFICATE-----); \
                 `openssl x509 -inform der -in {path} -out cert.pem` turns one in DER into it"
            ),
            CertificateFault::NoKey => write!(
                f,
                "{path}: holds no private key in PEM (-----BEGIN PRIVATE KEY-----); name the key's file in tls.keys (--tls-key)"
            ),
            CertificateFault::EncryptedKey => write!(
                f,
                "{path}: its key asks for a passphrase, and nobody is there to type it; \
                 `openssl pkey -in {path} -out key.pem` writes one that does not"
            ),
            CertificateFault::UnusableKey => write!(
                f,
                "{path}: its key is not of a kind that TLS uses: ECDSA (P-256, P-384, P-521), Ed25519, or RSA of 2048 bits and \
                 more; `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem` makes one"
            ),
            CertificateFault::UnusableCertificate => write!(
                f,
                "{path}: its first certificate is not one of X.509 version 3; `openssl x509 -in {path} -noout -text` shows it"
            ),
            CertificateFault::OtherKey => write!(
                f,
                "{path}: this key does not belong to the first certificate of {beside}; \
                 `openssl x509 -noout -pubkey -in {beside}` and `openssl pkey -pubout -in {path}` have to print the same"
            ),
        }
    }
}

impl std::error::Error for CertificateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates_are_read_to_the_second() {
        let rows = [
            (23, "700101000000Z", Some(0)),
            (23, "491231235959Z", Some(2_524_607_999)),
            (23, "500101000000Z", Some(-631_152_000)),
            (24, "20000229123456Z", Some(951_827_696)),
            (24, "20000301000000Z", Some(951_868_800)),
            (24, "21000301000000Z", Some(4_107_542_400)),
            (24, "99991231235959Z", Some(253_402_300_799)),
            (23, "7001010000Z", None),
            (23, "700101000000+0100", None),
            (24, "é000101000000Z", None),
            (22, "700101000000Z", None),
        ];
        for (tag, text, expected) in rows {
            assert_eq!(seconds(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn no_bytes_make_reading_a_certificate_panic() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let der = pair.cert.der();
        assert!(validity(der).is_some_and(|(from, until)| from < until));
        for at in 0..der.len() {
            validity(&der[..at]);
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.to_vec();
                changed[at] = byte;
                validity(&changed);
            }
        }
    }
}
