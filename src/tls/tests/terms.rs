//! Terms that cannot be, and those an operator should look at.

use super::*;

fn write(name: &str, text: &str) {
    fs::write(PKI.folder.join(name), text).expect("written");
}

fn refusal(chain: &str, key: &str) -> String {
    let settings = TermsSettings { certificates: vec![files(chain, key)], ..TermsSettings::default() };
    let errors = Terms::load(&settings, &TicketKeys::random(), 0).expect_err("it cannot be");
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn files_that_cannot_be_used_are_refused_with_a_cure() {
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).expect("made");
    write("other-key.pem", &other.signing_key.serialize_pem());
    write("empty.pem", "nothing\n");
    write(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    write("bad-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    write("bad-cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (chain, key, part) in [
        ("cert.pem", "other-key.pem", "this key does not belong to the first certificate of"),
        ("none.pem", "key.pem", "none.pem: cannot be read: No such file"),
        ("cert.pem", "none.pem", "none.pem: cannot be read: No such file"),
        ("empty.pem", "key.pem", "holds no certificate in PEM"),
        ("key.pem", "key.pem", "holds no certificate in PEM"),
        ("cert.pem", "empty.pem", "name the key's file in tls.keys (--tls-key)"),
        ("cert.pem", "cert.pem", "holds no private key in PEM"),
        ("cert.pem", "encrypted.pem", "openssl pkey -in"),
        ("cert.pem", "bad-key.pem", "openssl genpkey"),
        ("bad-cert.pem", "key.pem", "X.509 version 3"),
    ] {
        let told = refusal(chain, key);
        assert!(told.contains(part), "{chain} {key}: {told}");
    }
    let settings = TermsSettings {
        certificates: vec![files("none.pem", "key.pem"), files("cert.pem", "other-key.pem")],
        ticket_keys: Some(PKI.folder.join("empty.pem")),
        ..TermsSettings::default()
    };
    let errors = Terms::load(&settings, &TicketKeys::random(), 0).expect_err("it cannot be");
    assert_eq!(errors.len(), 3, "everything that is wrong is told at once");
    assert!(errors[2].to_string().contains("openssl rand 48"), "{}", errors[2]);
}

#[test]
fn one_file_may_hold_certificate_and_key() {
    let read = |name| fs::read_to_string(PKI.folder.join(name)).expect("read");
    write("both.pem", &(read("cert.pem") + &read("key.pem")));
    let settings = TermsSettings { certificates: vec![files("both.pem", "both.pem")], ..settings() };
    let (terms, _) = Terms::load(&settings, &TicketKeys::random(), 0).expect("good");
    assert_eq!(terms.names(), ["localhost"]);
    assert!(!format!("{terms:?}").contains("PRIVATE"));
}

#[test]
fn certificates_that_clients_refuse_are_warned_of() {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 3, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    write("2020.pem", &(params.self_signed(&key).expect("signed").pem() + &key.serialize_pem()));
    let settings = TermsSettings { certificates: vec![files("2020.pem", "2020.pem")], ..settings() };
    let at = |day: i64| {
        let now = 1_577_836_800 + day * 86_400;
        let (_, warnings) =
            Terms::load(&settings, &TicketKeys::random(), now).expect("it is served all the same");
        warnings[1..].iter().map(ToString::to_string).collect::<String>()
    };
    assert!(at(-2).contains("good in 2 days only"), "{}", at(-2));
    assert_eq!(at(1), "");
    assert!(at(55).contains("expires in 5 days"), "{}", at(55));
    assert!(at(63).contains("expired 3 days ago"), "{}", at(63));
    let (_, warnings) = Terms::load(&settings, &TicketKeys::random(), 0).expect("served");
    assert!(matches!(&warnings[0], Warning::NoNames { .. }), "{warnings:?}");
}

#[test]
fn tls12_is_spoken_unless_it_is_excluded() {
    let tls12 = || every_suite().into_iter().filter(|suite| suite.tls13().is_none()).collect();
    let server = |min_version| {
        let settings = TermsSettings { min_version, ..settings() };
        Terms::load(&settings, &TicketKeys::random(), 0).expect("good").0.own_config()
    };
    shake_hands_and(&mut connection(&Arc::new(client_of(tls12()))), &server(MinVersion::Tls12), 99, |_| {});
    let mut handshake = Handshake::new(&server(MinVersion::Tls13));
    handshake.handle_bytes(&sent(&mut connection(&Arc::new(client_of(tls12()))))).expect("taken");
    let mut out = Vec::new();
    assert!(matches!(handshake.advance(&mut out), Step::Failed(Failure::Refused(_))));
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 70], "a fatal protocol_version");
}
