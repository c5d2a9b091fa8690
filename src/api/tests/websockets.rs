//! What WebSockets may send and are answered: raw channels, `/ws`, `/echo`.

use super::super::Settings;
use super::super::testing::{Rig, at, code, name, open_settings};
use super::{key_settings, published};
use crate::app::{Intent, Message, Reply, StatePage, Verdict};
use crate::auth::Policy;
use crate::hub::SubscribeError;
use crate::limits::{Limits, PUBLISHES_IN_FLIGHT_MAX};
use crate::model::{CloseReason, Payload, PublishError, Transport};

#[test]
fn the_right_to_publish_over_a_websocket_is_decided_at_its_handshake() {
    let cases = [
        (open_settings(), "", true),
        (Settings { clients_publish: false, ..open_settings() }, "", false),
        (key_settings(), "", false),
        (key_settings(), "?key=secret", true),
        (Settings { clients_publish: false, ..key_settings() }, "?key=secret", false),
    ];
    for (settings, query, may_publish) in cases {
        let mut rig = Rig::new(settings.clone());
        rig.accept(&format!("/channels/n{query}"), &[]);
        rig.message(Message::Text("hi"));
        match &rig.intents()[..] {
            [Intent::Publish { channel, payload, ticket: None, .. }] => {
                assert!(may_publish, "{query}");
                assert_eq!((channel, payload), (&name("n"), &Payload::new(*b"hi", None)));
            }
            [Intent::Close { reason: CloseReason::PolicyViolation, .. }] => assert!(!may_publish, "{query}"),
            other => panic!("{other:?}"),
        }
        let mut rig = Rig::new(settings);
        rig.accept(&format!("/ws{query}"), &[]);
        rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"n","data":"hi"}}"#));
        let is_publish = |intent: &Intent| matches!(intent, Intent::Publish { .. });
        assert_eq!(rig.intents().iter().any(is_publish), may_publish, "{query}");
    }
    let wrong = Rig::new(key_settings()).connect("/ws?key=wrong", &[]);
    assert!(matches!(wrong, Verdict::Refuse(response) if code(&response) == "key_wrong"));
    Rig::new(key_settings()).accept("/ws", &[("Authorization", "Bearer other")]);
}

#[test]
fn a_subscription_to_which_the_right_is_lost_meanwhile_is_answered_by_its_id() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    rig.message(Message::Text(r#"{"id":5,"subscribe":{"channel":"n"}}"#));
    assert!(matches!(rig.intents()[..], [Intent::Subscribe { .. }]));
    rig.server.access.change(&Settings { policy: Policy::default(), ..open_settings() });
    let (channel, position) = (name("n"), at(1, 2));
    rig.reply_to(5, Reply::Subscribed { channel, position, recovered: true, missed: 0 });
    let intents = rig.intents();
    let said =
        |intent: &Intent| if let Intent::Send { range, .. } = intent { Some(range.clone()) } else { None };
    let range = intents.iter().find_map(said).expect("an answer");
    assert!(matches!(intents[0], Intent::Unsubscribe { .. }), "{intents:?}");
    let said = String::from_utf8(rig.intents.bytes(range).to_vec()).expect("text");
    assert!(said.starts_with("{\"id\":5,\"error\":{"), "{said}");
}

#[test]
fn echo_sends_back_what_came_text_as_text() {
    let mut rig = Rig::open();
    assert!(matches!(rig.connect("/echo", &[]), Verdict::Accept { diagnostic: true, channel: None, .. }));
    rig.accept("/echo", &[]);
    assert_eq!(rig.command("hé"), "hé");
    rig.message(Message::Binary(b"\xff"));
    assert!(matches!(rig.intents()[..], [Intent::Send { is_text: false, .. }]));
}

#[test]
fn a_subprotocol_is_chosen_of_those_offered() {
    let settings = Settings { subprotocols: vec!["chat".into()], ..open_settings() };
    let chosen = |target: &str, offered: &str| {
        let mut rig = Rig::new(settings.clone());
        match rig.connect(target, &[("Sec-WebSocket-Protocol", offered)]) {
            Verdict::Accept { protocol, .. } => protocol.map(String::from),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(chosen("/ws", "x, roadstead.json").as_deref(), Some("roadstead.json"));
    assert_eq!(chosen("/channels/n", "chat,roadstead.raw").as_deref(), Some("chat"));
    assert_eq!(chosen("/channels/n", "bearer.abc, roadstead.raw").as_deref(), Some("roadstead.raw"));
    assert_eq!(chosen("/channels/n", "roadstead.json"), None);
    assert_eq!(chosen("/echo", "anything").as_deref(), Some("anything"));
}

#[test]
fn commands_are_answered_by_their_id() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    assert_eq!(rig.command(r#"{"id":4,"ping":{}}"#), r#"{"id":4,"pong":{}}"#);

    rig.message(Message::Text(r#"{"id":1,"subscribe":{"channel":"n","since":"1:2"}}"#));
    match &rig.intents()[..] {
        [Intent::Subscribe { channel, since, transport: Transport::Json, token: 1, .. }] => {
            assert_eq!((channel, *since), (&name("n"), Some(at(1, 2))));
        }
        other => panic!("{other:?}"),
    }
    rig.reply(1, Reply::Subscribed { channel: name("n"), position: at(1, 5), recovered: true, missed: 3 });
    assert_eq!(
        rig.sent(),
        r#"{"id":1,"subscribed":{"channel":"n","epoch":1,"offset":5,"recovered":true,"missed":3}}"#
    );
    rig.reply(2, Reply::NotSubscribed { channel: name("n"), error: SubscribeError::Already });
    assert!(rig.sent().starts_with(r#"{"id":2,"error":{"code":"already_subscribed","#));

    rig.message(Message::Text(r#"{"id":3,"unsubscribe":{"channel":"n"}}"#));
    let intents = rig.intents();
    assert!(matches!(&intents[..], [Intent::Unsubscribe { .. }, Intent::Send { .. }]), "{intents:?}");
}

#[test]
fn published_names_the_channel_whatever_the_order_of_answers() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"a","data":"x"}}"#));
    rig.message(Message::Text(r#"{"id":2,"publish":{"channel":"b","data":"y"}}"#));
    rig.intents();
    rig.reply(2, Reply::Published(Ok(at(1, 1))));
    assert_eq!(rig.sent(), r#"{"id":2,"published":{"channel":"b","epoch":1,"offset":1}}"#);
    rig.reply(1, Reply::Published(Err(PublishError::Busy)));
    assert!(rig.sent().starts_with(r#"{"id":1,"error":{"code":"busy","#));
    rig.reply(1, Reply::Published(Ok(at(1, 1))));
    assert!(rig.intents().is_empty(), "a command is answered once");
}

#[test]
fn commands_of_one_id_each_get_the_reply_to_what_they_asked() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    rig.message(Message::Text(r#"{"id":1,"state":{"channel":"a"}}"#));
    rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"b","data":"y"}}"#));
    let tokens: Vec<_> = rig
        .intents()
        .into_iter()
        .filter_map(|intent| match intent {
            Intent::ReadState { ticket, .. } | Intent::Publish { ticket: Some(ticket), .. } => {
                Some(ticket.token)
            }
            _ => None,
        })
        .collect();
    rig.reply_to(tokens[1], Reply::Published(Ok(at(1, 1))));
    assert_eq!(rig.sent(), r#"{"id":1,"published":{"channel":"b","epoch":1,"offset":1}}"#);
    rig.reply_to(tokens[0], Reply::State(StatePage::default()));
    assert!(rig.sent().starts_with(r#"{"id":1,"state":{"channel":"a","#));
}

#[test]
fn publish_commands_beyond_those_in_flight_are_busy() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    let publish = |id: usize| format!(r#"{{"id":{id},"publish":{{"channel":"a","data":"x"}}}}"#);
    (0..PUBLISHES_IN_FLIGHT_MAX).for_each(|id| rig.message(Message::Text(&publish(id))));
    assert_eq!(published(&mut rig).len(), PUBLISHES_IN_FLIGHT_MAX);
    assert!(rig.command(&publish(999)).contains(r#""code":"busy""#));
    rig.reply(0, Reply::Published(Ok(at(1, 1))));
    rig.intents();
    rig.message(Message::Text(&publish(999)));
    assert_eq!(published(&mut rig).len(), 1);
}

#[test]
fn a_command_that_cannot_be_followed_gets_a_reply_and_the_connection_lives() {
    let mut rig = Rig::new(Settings { clients_publish: false, ..open_settings() });
    rig.accept("/ws", &[]);
    let cases = [
        ("{", r#"{"id":null,"error":{"code":"json_invalid""#),
        ("[1]", r#"{"id":null,"error":{"code":"not_an_object""#),
        (r#"{"id":5,"subscribe":{"channel":""}}"#, r#"{"id":5,"error":{"code":"channel_name_invalid""#),
        (r#"{"id":6,"unsubscribe":{"channel":"\n"}}"#, r#"{"id":6,"error":{"code":"channel_name_invalid""#),
        (r#"{"id":7,"publish":{"channel":"a","data":1}}"#, r#"{"id":7,"error":{"code":"publish_forbidden""#),
    ];
    for (command, reply) in cases {
        let sent = rig.command(command);
        assert!(sent.starts_with(reply), "{command}: {sent}");
    }
    rig.message(Message::Binary(b"{}"));
    assert!(rig.sent().starts_with(r#"{"id":null,"error":{"code":"binary_unsupported""#));
    assert_eq!(rig.command(r#"{"id":8,"ping":{}}"#), r#"{"id":8,"pong":{}}"#);
}

#[test]
fn a_raw_websocket_that_publishes_too_often_is_told_to_come_back_later() {
    let limits = Limits { publications_per_key_per_second_max: 1, ..Limits::default() };
    let mut rig = Rig::new(Settings { limits, ..open_settings() });
    rig.accept("/channels/n", &[]);
    rig.message(Message::Text("1"));
    rig.intents();
    rig.message(Message::Text("2"));
    let intents = rig.intents();
    assert!(
        matches!(
            intents[..],
            [Intent::CountRateLimited, Intent::Close { reason: CloseReason::Overloaded, .. }]
        ),
        "{intents:?}"
    );
}
