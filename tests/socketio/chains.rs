//! Requests each of which answers the one before: a peer that chains them must not decide how deep the server's stack is.

use crate::{
    place::{Fixture, Place},
    polling::{Polling, is_read},
    server::await_that,
};

/// Far more than the stack would hold, were each answered within the one before.
const COUNT: usize = 2_000;

/// Polls that wait, each with one behind it that overlaps the next one's; the sessions.
fn chain(place: &Place) -> (Vec<Polling>, Vec<crate::client::Client>) {
    let sessions: Vec<_> = (0..COUNT).map(|_| place.poll()).collect();
    let polls = (0..COUNT).map(|at| {
        let mut poll = sessions[at].begin_get();
        if let Some(next) = sessions.get(at + 1) {
            poll.ask("GET", &next.target(), "", b"");
        }
        poll
    });
    let polls: Vec<_> = polls.collect();
    await_that("the last poll waits", || is_read(polls[COUNT - 1].tcp()));
    (sessions, polls)
}

#[test]
fn polls_that_end_each_others_sessions_are_answered_one_after_the_other() {
    let fixture = Fixture::start(&["shards=1"]);
    for place in fixture.places() {
        let (sessions, mut polls) = chain(&place);
        assert_eq!(sessions[0].get().status, 400, "it overlaps the first");
        for (at, poll) in polls.iter_mut().enumerate() {
            let ended = poll.response();
            assert_eq!((ended.status, ended.text().as_str()), (200, "1"), "{at}");
            if at + 1 < COUNT {
                assert_eq!(poll.response().status, 400, "what stands behind {at} overlaps the next");
            }
        }
        sessions[COUNT - 1].expect_gone();
        place.poll();
    }
}
