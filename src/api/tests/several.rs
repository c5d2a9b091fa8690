//! `GET /events`: which channels, from which positions, and who may.

use super::super::testing::{Rig, at, code, name};
use crate::app::{Answer, ChannelName, Position, Verdict};

const STREAM: (&str, &str) = ("Accept", "text/event-stream");

type Followed = Vec<(ChannelName, Option<Position>)>;

fn followed(rig: &mut Rig, query: &str, fields: &[(&str, &str)]) -> Result<Followed, String> {
    match rig.request(&format!("GET /events{query}"), fields, b"") {
        Answer::EventStreams { channels, .. } | Answer::LongPolls { channels, .. } => Ok(channels),
        Answer::Respond(response) => Err(code(&response)),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn each_channel_is_followed_once_in_the_order_named() {
    let names = |query: &str| {
        let channels = followed(&mut Rig::open(), query, &[])?;
        Ok::<_, String>(channels.into_iter().map(|(channel, _)| channel).collect::<Vec<_>>())
    };
    assert_eq!(names("?channel=b&channel=a%2F1&channel=b"), Ok(vec![name("b"), name("a/1")]));
    assert_eq!(names("?channel=a+b&timeout=0"), Ok(vec![name("a b")]));
    for query in ["", "?", "?timeout=1"] {
        assert_eq!(names(query), Err("channels_invalid".into()), "{query}");
    }
    assert_eq!(names("?channel=a&channel="), Err("channel_name_invalid".into()));
    assert_eq!(names("?channels=a"), Err("parameter_unknown".into()));
    let many = |count: usize| (0..count).map(|at| format!("channel=c{at}&")).collect::<String>();
    assert_eq!(names(&format!("?{}", many(64))).map(|names| names.len()), Ok(64));
    assert_eq!(names(&format!("?{}", many(65))), Err("channels_invalid".into()));
}

#[test]
fn no_more_channels_than_a_connection_may_follow_and_can_bring_positions_back_for() {
    let mut rig = Rig::open();
    rig.server.settings.limits.subscriptions_per_connection_max = 2;
    assert!(followed(&mut rig, "?channel=a&channel=b", &[]).is_ok());
    assert_eq!(followed(&mut rig, "?channel=a&channel=b&channel=c", &[]), Err("channels_invalid".into()));
    let mut rig = Rig::open();
    rig.server.settings.limits.head_bytes_max = 2 * 34 * 2;
    assert!(followed(&mut rig, "?channel=a&channel=b", &[]).is_ok());
    assert_eq!(followed(&mut rig, "?channel=a&channel=b&channel=c", &[]), Err("channels_invalid".into()));
}

#[test]
fn a_stream_resumes_each_channel_at_its_position_and_tells_what_it_cannot_keep() {
    let resume = |query: &str, id: Option<&str>| {
        let mut fields = vec![STREAM];
        fields.extend(id.map(|id| ("Last-Event-ID", id)));
        let channels = followed(&mut Rig::open(), &format!("?channel=a&channel=b{query}"), &fields)?;
        Ok::<_, String>(channels.into_iter().map(|(_, since)| since).collect::<Vec<_>>())
    };
    let (one, two, foreign) = (Some(at(1, 2)), Some(at(3, 4)), Some(Position::FOREIGN));
    assert_eq!(resume("", None), Ok(vec![None, None]));
    assert_eq!(resume("&since=1:2,3:4", None), Ok(vec![one, two]));
    assert_eq!(resume("&since=1:2,-", None), Ok(vec![one, None]));
    assert_eq!(resume("&since=1:2,3:4", Some("3:4,1:2")), Ok(vec![two, one]));
    assert_eq!(resume("&lastEventId=1%3A2%2C3%3A4", None), Ok(vec![one, two]));
    assert_eq!(resume("", Some("1:2,-")), Ok(vec![one, foreign]), "it was cut before it knew");
    for id in ["42", "1:2", "1:2,3:4,5:6", "x,y", "urn:uuid:1"] {
        assert_eq!(resume("&since=1:2,3:4", Some(id)), Ok(vec![foreign, foreign]), "{id}");
    }
    for since in ["1:2", "1:2,3:4,5:6", "x,1:2"] {
        assert_eq!(resume(&format!("&since={since}"), None), Err("position_invalid".into()), "{since}");
    }
}

#[test]
fn a_websocket_cannot_be_made_of_it_and_nothing_can_be_published_to_it() {
    match Rig::open().connect("/events?channel=a", &[]) {
        Verdict::Refuse(response) => assert_eq!(code(&response), "not_a_websocket"),
        other => panic!("{other:?}"),
    }
    assert_eq!(Rig::open().respond("POST /events?channel=a", &[], b"x").status, 405);
    assert!(matches!(
        Rig::open().request("HEAD /events?channel=a", &[STREAM], b""),
        Answer::LongPolls { timeout_ms: 0, .. }
    ));
}
