//! A client of the fixture's namespace `/play` that is told why others are gone, and is itself not to be harmed.

use serde_json::{Value, json};

use crate::{link::Link, place::Fixture, polling::Polling, server::Patience};

/// Looks on.
pub struct Witness {
    link: Link,
    echoed: u32,
}

/// Connects to `/play` over a WebSocket under this name.
#[track_caller]
pub fn play(fixture: &Fixture, name: &str) -> Link {
    let mut link = fixture.socketio().link();
    let said = link.enter(&format!(r#"40/play,{{"name":"{name}"}}"#));
    assert!(said.starts_with("40/play,{"), "{said}");
    link
}

/// Connects to `/play` by polling under this name.
#[track_caller]
pub fn play_polling(fixture: &Fixture, name: &str) -> Polling {
    let session = fixture.socketio().poll();
    let said = session.enter(&format!(r#"40/play,{{"name":"{name}"}}"#));
    assert!(said.starts_with("40/play,{"), "{said}");
    session
}

impl Witness {
    /// Begins to look on.
    #[track_caller]
    pub fn enter(fixture: &Fixture) -> Self {
        let mut link = play(fixture, "witness");
        link.send(r#"42/play,0["join","observers"]"#);
        let rooms = link.packet();
        assert!(rooms.starts_with("43/play,0["), "{rooms}");
        // A room's owner may be another shard. Who hears itself there is in the room for everybody.
        link.send(r#"42/play,["say",{"to":["observers"],"self":true,"event":"here"}]"#);
        assert!(link.packet().starts_with(r#"42/play,["here""#));
        Self { link, echoed: 0 }
    }

    /// Waits until somebody is gone; why.
    #[track_caller]
    pub fn reason(&mut self, name: &str) -> String {
        let patience = Patience::begin();
        loop {
            patience.check(&format!("{name} is gone"));
            let packet = self.link.packet();
            let event = packet.strip_prefix("42/play,").unwrap_or_else(|| panic!("{packet} is no event"));
            let event: Value = serde_json::from_str(event).expect("an event in JSON");
            if event[0] == json!("gone") && event[1]["name"] == json!(name) {
                return event[1]["reason"].as_str().expect("a reason is text").to_owned();
            }
        }
    }

    /// Says something; what is in `say` of the fixture.
    #[track_caller]
    pub fn say(&mut self, saying: &str) {
        self.link.send(&format!(r#"42/play,["say",{saying}]"#));
        self.expect_well();
    }

    /// Checks that nothing has happened to the witness, and that nobody is gone it does not know of.
    #[track_caller]
    pub fn expect_well(&mut self) {
        self.echoed += 1;
        self.link.send(&format!(r#"42/play,{}["echo","well"]"#, self.echoed));
        assert_eq!(self.link.packet(), format!(r#"43/play,{}["well"]"#, self.echoed));
    }
}
