//! Terms for fuzz bodies that shake hands: a certificate that is its own root, made when it is first wanted.

use std::{fs, sync::LazyLock};

use roadstead::tls::{CertificateFiles, Terms, TermsSettings, TicketKeys};

pub static TERMS: LazyLock<Terms> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let folder = std::env::temp_dir().join(format!("roadstead-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("made");
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&chain, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let settings =
        TermsSettings { certificates: vec![CertificateFiles { chain, key }], ..TermsSettings::default() };
    let terms = Terms::load(&settings, &TicketKeys::random(), 1_800_000_000).expect("good terms").0;
    fs::remove_dir_all(folder).expect("just made");
    terms
});
