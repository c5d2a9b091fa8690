//! Streams that go from one process to the next: what an owner that ends keeps in memory, and how another goes on with it.
//!
//! Streams on disk go by the disk (`durable.rs`), and a broker's are the broker's. Where a stream was, it goes on: under
//! the same epoch, with the next offset, its history and its keys. Those who come back with their positions have missed nothing,
//! and connections that go on follow their channels on from where they have been told.

use super::{
    Hub, Since,
    channel::{Channel, Role},
    history::Continuation,
    membership::Member,
    seat::Place,
    state::State,
    stream::{Mirror, Stream},
};
use crate::{
    mesh::Subscription,
    model::{ChannelName, ConnectionId, Durability, Now, Position, Restored, ShardId, Shown, Transport},
};

impl Hub {
    /// Ends the streams of this owner in order, and tells what it keeps of them in memory alone.
    pub fn leave_streams(&mut self, now: Now) -> Vec<Restored> {
        self.end_streams(now);
        (0..self.channels.end()).filter_map(|index| left_by(self.channels.get(index)?)).collect()
    }

    /// Goes on with a stream where another process has left it, unless something is known of it already, or a disk or a broker
    /// knows better; whether it does.
    pub fn succeed(&mut self, now: Now, left: Restored) -> bool {
        self.now = now;
        let is_elsewhere = self.durability_of(&left.channel) != Durability::Memory || self.brokered.is_some();
        if is_elsewhere || self.channels.find(&left.channel).is_some() {
            return false;
        }
        let mut stream = Stream::new(left.position.epoch, now.monotonic_ms);
        stream.position = left.position;
        stream.rule = self.ledgers.rule_of(&left.channel);
        let index = self.channels.insert(left.channel, Role::Owner(stream));
        for publication in left.history {
            self.keep(index, publication);
        }
        for (publication, counted) in left.state {
            self.restore_key(now, index, publication, counted);
        }
        self.release(index);
        true
    }
}

impl Hub {
    /// Up to where all that was published to a channel has been handed out here; `None` if not all of it has been.
    pub fn heard(&self, channel: &ChannelName) -> Option<Position> {
        let channel = &self.channels[self.channels.find(channel)?];
        let position = channel.position()?;
        let is_all = !channel.is_in_fanout && channel.audience.has_handed_out(position);
        is_all.then_some(position)
    }

    /// Delivers a channel to a shard that follows it from the start.
    pub fn succeed_follower(&mut self, channel: &ChannelName, shard: ShardId) {
        let Some(index) = self.channels.find(channel) else { return };
        if let Some(stream) = self.channels[index].stream_mut() {
            stream.add_shard(shard);
            self.note_occupancy(index);
        }
    }

    /// Follows a channel from the start, at a position at which its owner, told so as well, begins to deliver it.
    pub fn follow_again(&mut self, now: Now, channel: &ChannelName, position: Position) {
        self.now = now;
        let owner = self.owner_of(channel);
        if owner != self.settings.shard && self.channels.find(channel).is_none() {
            self.channels.insert(channel.clone(), Role::Follower { owner, position: Some(position) });
        }
    }

    /// Subscribes, without a word, whoever was subscribed in another process to a channel that is owned here or followed.
    pub fn seat_again(&mut self, connection: ConnectionId, transport: Transport, channel: &ChannelName) {
        self.seat_showing(connection, transport, channel, Shown::default());
    }

    /// The same of one that is shown something beside what is published.
    fn seat_showing(
        &mut self,
        connection: ConnectionId,
        transport: Transport,
        channel: &ChannelName,
        shown: Shown,
    ) {
        let Some(index) = self.channels.find(channel) else { return };
        let Some(position) = self.channels[index].position() else { return };
        let seat = self.channels[index].audience.admit(connection.index, transport, position);
        let seat = if transport == Transport::Json { seat.showing(shown) } else { seat };
        self.memberships.insert(connection, Member { channel: index, seat });
        self.note_occupancy(index);
    }

    /// What a connection follows, and up to where it has been told of each; `None` while it is about to follow one. Whoever
    /// catches up has been told as `behind` says.
    pub fn followed_by(
        &self,
        connection: ConnectionId,
        behind: impl Fn(&ChannelName) -> Option<Position>,
    ) -> Option<Vec<Subscription>> {
        let one = |index| {
            let channel = &self.channels[index];
            let seat = self.memberships.seat(connection, index)?;
            let (transport, position, shown) = match seat.place() {
                Place::Joining { join } => {
                    let join = self.joins.resting(join)?;
                    (join.transport, behind(&channel.name)?, join.shown())
                }
                place => {
                    let (transport, position) = channel.audience.told(place)?;
                    (transport, position, seat.shown())
                }
            };
            Some(Subscription { channel: channel.name.clone(), transport, position, shown })
        };
        self.memberships.channels(connection.index).into_iter().map(one).collect()
    }

    /// Lets a connection follow a channel on from where it has been told in another process, without a word; whether that is
    /// where the channel is. Where it is not, what it missed follows as for any that catches up.
    pub fn follow_on(&mut self, now: Now, connection: ConnectionId, one: &Subscription) -> bool {
        self.now = now;
        let Subscription { channel, transport, position, shown } = one;
        let known = self.channels.find(channel).and_then(|index| self.channels[index].position());
        if self.brokered.is_none() && known == Some(*position) {
            self.seat_showing(connection, *transport, channel, *shown);
            return true;
        }
        let since = match transport {
            Transport::LongPoll => Since::page(*position),
            _ => Since::part(*position),
        };
        self.catch_up_again(connection, *transport, channel, (since, *shown));
        false
    }

    /// Follows a channel no more that nobody was subscribed to after all.
    pub fn leave_unfollowed(&mut self, channel: &ChannelName) {
        if let Some(index) = self.channels.find(channel) {
            self.leave_if_last(index);
        }
    }
}

fn left_by(channel: &Channel) -> Option<Restored> {
    let stream = channel.stream()?;
    if stream.durability != Durability::Memory || stream.mirror != Mirror::None {
        return None;
    }
    Some(Restored {
        channel: channel.name.clone(),
        position: stream.position,
        history: stream.history.after(Continuation::START).cloned().collect(),
        state: stream.state.as_deref().map(State::all).unwrap_or_default(),
        members: Vec::new(),
        is_whole: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{
            FanoutLimit, HubSettings, Output, Wanted,
            durable::tests::{at, news, read},
        },
        limits::Limits,
        model::{Payload, StateKey, StateRequest, Ticket},
    };

    fn hub(seed: u64) -> Hub {
        let limits = Limits { history_publications_max: 5, ..Limits::default() };
        Hub::new(HubSettings::of_shard(&limits, ShardId(0), 1, 100, seed, seed))
    }

    #[test]
    fn a_stream_goes_on_under_its_epoch_with_all_that_was_kept_of_it() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut before, mut now_ms) = (hub(seed), 0);
            for _ in 0..rng.u32(1..40) {
                now_ms += rng.u64(0..40);
                let key = StateKey::new(&rng.u8(0..4).to_string()).expect("a key");
                let text = Payload::new(rng.u32(..).to_string().as_bytes(), None);
                let request = match rng.u8(0..5) {
                    0 | 1 => None,
                    2 => Some(StateRequest::set(key, text.clone())),
                    3 => Some(StateRequest::add(key, rng.i64(-9..9))),
                    _ => Some(StateRequest::remove(key)),
                };
                match request {
                    Some(request) => _ = before.change_state(at(now_ms), news(), Box::new(request), None),
                    None => _ = before.publish(at(now_ms), news(), text, None),
                }
                while before.poll_output().is_some() {}
            }
            let mut left = before.leave_streams(at(now_ms));
            while before.poll_output().is_some() {}
            let Some(position) = left.first().map(|one| one.position) else { continue };
            let told = read(&mut before, None, at(now_ms));
            let mut after = hub(seed + 1000);
            assert!(after.succeed(at(7), left.remove(0)));
            let again = read(&mut after, None, at(7));
            assert_eq!(again.0.publications, told.0.publications, "seed {seed}");
            assert_eq!((&again.1.keys, again.1.position), (&told.1.keys, Some(position)), "seed {seed}");
            let (page, _) = read(&mut after, Some(position), at(7));
            assert!(page.recovered && page.publications.is_empty(), "seed {seed}");
            after.publish(at(8), news(), Payload::new(*b"x", None), None);
            let (page, _) = read(&mut after, Some(position), at(8));
            let next = Position { offset: position.offset + 1, ..position };
            assert_eq!((page.position, page.recovered), (Some(next), true), "seed {seed}");
        }
    }

    #[test]
    fn who_is_present_has_the_grace_to_come_back_and_is_told_of_once() {
        let connection = |index| Ticket { connection: ConnectionId { index, generation: 1 }, token: 1 };
        let enter = |hub: &mut Hub, ms, index, name: &str| {
            hub.enter(at(ms), connection(index), &news(), StateKey::of_user(name), "".into());
        };
        let mut before = hub(1);
        (1..).zip(["anna", "bob"]).for_each(|(index, name)| enter(&mut before, 0, index, name));
        let guest = StateKey::of_guest(ShardId(0), connection(3).connection);
        before.enter(at(0), connection(3), &news(), guest, "".into());
        before.hold_members();
        (1..3).for_each(|index| before.leave_all(connection(index).connection));
        assert_eq!(before.next_presence_ms(), None, "they come back elsewhere");
        before.handle_tick(at(20_000));
        let present = before.leave_members(at(20_001));
        let streams = before.leave_streams(at(20_001));
        assert_eq!((present.len(), present[0].members.len()), (1, 2));

        let mut after = hub(2);
        streams.into_iter().for_each(|stream| assert!(after.succeed(at(7), stream)));
        present.into_iter().for_each(|members| after.succeed_members(at(7), members));
        enter(&mut after, 8, 9, "anna");
        let leaves_ms = after.next_presence_ms().expect("bob has not come back");
        after.handle_tick(at(leaves_ms));
        assert_eq!(after.next_presence_ms(), None);
        while after.poll_output().is_some() {}
        let (page, _) = read(&mut after, None, at(leaves_ms));
        let told = page.publications.iter().filter_map(|one| one.payload.change.as_deref());
        let told: Vec<_> = told.map(|change| (change.kind.word(), change.key.member().to_owned())).collect();
        let told: Vec<_> = told.iter().map(|(word, who)| (*word, &**who)).collect();
        assert_eq!(told[..2], [("enter", "anna"), ("enter", "bob")]);
        assert_eq!((told[2].0, told[3].0, told[4]), ("enter", "leave", ("leave", "bob")));
        assert_eq!(told.len(), 5);
    }

    #[test]
    fn who_goes_on_is_told_what_it_missed_and_nothing_twice() {
        let connection = |index| ConnectionId { index, generation: 1 };
        let mut before = hub(1);
        let publish = |hub: &mut Hub, ms| {
            hub.publish(at(ms), news(), Payload::new(*b"x", None), None);
        };
        let hand_out = |hub: &mut Hub| {
            hub.begin_fanout();
            while hub.poll_fanout(FanoutLimit::NONE).is_some() {}
            hub.end_fanout();
        };
        publish(&mut before, 0);
        for index in [1, 2] {
            before
                .subscribe(at(0), connection(index), Transport::Json, news(), Wanted::default(), Some(1))
                .expect("there is room");
        }
        while before.poll_output().is_some() {}
        publish(&mut before, 1);
        hand_out(&mut before);
        let all = [1, 2]
            .map(|index| before.followed_by(connection(index), |_| None).expect("nothing is under way"));
        let told = |all: &[Subscription]| all.iter().map(|one| one.position.offset).collect::<Vec<_>>();
        assert_eq!(all.each_ref().map(|all| told(all)), [[2], [2]]);
        // Something is published when they have been put aside.
        publish(&mut before, 2);
        let mut left = before.leave_streams(at(3));
        let mut after = hub(2);
        assert!(after.succeed(at(7), left.remove(0)));
        let [behind, mut there] = all;
        assert!(!after.follow_on(at(7), connection(1), &behind[0]));
        there[0].position.offset = 3;
        assert!(after.follow_on(at(7), connection(2), &there[0]));
        after.handle_tick(at(7));
        let missed = std::iter::from_fn(|| after.poll_output()).find_map(|output| match output {
            Output::Joined { connection, welcome, is_further, .. } => Some((connection, welcome, is_further)),
            _ => None,
        });
        let (whose, welcome, is_further) = missed.expect("it is told");
        assert_eq!((whose, is_further, welcome.recovered), (connection(1), true, true));
        assert_eq!(welcome.missed.iter().map(|one| one.position.offset).collect::<Vec<_>>(), [3]);
        publish(&mut after, 8);
        hand_out(&mut after);
        let ends =
            [1, 2].map(|index| after.followed_by(connection(index), |_| None).expect("nothing is under way"));
        assert_eq!(ends.each_ref().map(|all| told(all)), [[4], [4]]);
        assert_eq!(after.followed_by(connection(3), |_| None).map(|all| all.len()), Some(0));
    }

    #[test]
    fn who_is_shown_the_state_goes_on_so_whether_it_has_missed_something_or_not() {
        let connection = ConnectionId { index: 1, generation: 1 };
        let shown = Shown { state: true, presence: false };
        let mut before = hub(1);
        before.publish(at(0), news(), Payload::new(*b"x", None), None);
        let wanted = Wanted { shown, ..Wanted::default() };
        before.subscribe(at(0), connection, Transport::Json, news(), wanted, Some(1)).expect("there is room");
        before.handle_tick(at(0));
        while before.poll_output().is_some() {}
        let all = before.followed_by(connection, |_| None).expect("nothing is under way");
        assert_eq!(all.iter().map(|one| one.shown).collect::<Vec<_>>(), [shown]);
        for is_behind in [false, true] {
            let mut left = before.leave_streams(at(3));
            left[0].position.offset += u64::from(is_behind);
            let mut after = hub(2);
            assert!(after.succeed(at(7), left.remove(0)));
            assert_eq!(after.follow_on(at(7), connection, &all[0]), !is_behind);
            after.handle_tick(at(7));
            while after.poll_output().is_some() {}
            assert_eq!(after.shown(connection, &news()), shown, "{is_behind}");
        }
    }

    #[test]
    fn what_is_known_already_is_not_put_aside() {
        let (mut before, mut after) = (hub(1), hub(2));
        for hub in [&mut before, &mut after] {
            hub.publish(at(0), news(), Payload::new(*b"x", None), None);
        }
        let left = before.leave_streams(at(1));
        let own = read(&mut after, None, at(1)).0.position;
        assert!(!after.succeed(at(1), left[0].clone()));
        assert_eq!(read(&mut after, None, at(1)).0.position, own);
    }
}
