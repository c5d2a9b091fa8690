//! The other shards as this one knows them: what is on its way to them and from them, and what each can be counted on for.
//!
//! | a peer is | and so it |
//! |---|---|
//! | *silent*: it does no turns, as the supervisor says | is asked nothing new, and is not waited for |
//! | *unheard*: it has not said that it knows that this shard has begun anew | is not heard, but for what a shard keeps when it fails |
//! | *drained*: it has no client left | needs no channel of this shard any more |
//! | *at rest*, so many times | has nothing under way that it knew of then |
//!
//! What is done about any of that is the shard's business.

use crate::{
    mesh::{Mesh, Message, Parcel, Refused},
    model::{ShardId, ShardSet},
};

/// The other shards, and the links to them.
pub(super) struct Peers {
    me: ShardId,
    /// How many shards there are, with this one.
    shards: u16,
    mesh: Mesh,
    silent: ShardSet,
    unheard: ShardSet,
    /// How often this shard had begun anew when it told them so.
    restarts: u64,
    drained: ShardSet,
    /// How often each has said that it is at rest, as far as any has.
    rests: Vec<u8>,
}

impl Peers {
    /// Of a shard that begins for the first time.
    pub(super) fn new(me: ShardId, shards: u16, mesh: Mesh) -> Self {
        let (silent, unheard, drained) = Default::default();
        Self { me, shards, mesh, silent, unheard, restarts: 0, drained, rests: Vec::new() }
    }

    /// The shard begins anew, for the time of this number: until a peer has heard of that, what it sends is meant for what the
    /// shard was before.
    pub(super) fn begin_anew(&mut self, restarts: u64) {
        self.restarts = restarts;
        self.unheard = self.all().collect();
        self.rests.clear();
    }

    /// How many shards there are, with this one.
    pub(super) fn shards(&self) -> u16 {
        self.shards
    }

    /// Whether there is no other.
    pub(super) fn are_none(&self) -> bool {
        self.shards == 1
    }

    /// Whether this is another shard.
    pub(super) fn has(&self, shard: ShardId) -> bool {
        shard != self.me && shard.0 < self.shards
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = ShardId> + use<> {
        self.me.others(self.shards)
    }

    /// Queues a message; it leaves with the next [`Self::flush`]. A silent peer is asked for nothing: that is refused as by a
    /// full link, or, where whoever asks all waits no longer than for so long, forgotten.
    pub(super) fn send(&mut self, to: ShardId, parcel: Parcel) -> Result<(), Refused> {
        if self.silent.contains(to) {
            match parcel {
                Parcel::Hub(message) if message.may_be_refused() => return Err(Refused::Publish(message)),
                Parcel::Hub(Message::Ask { .. } | Message::Receipt { .. }) => return Ok(()),
                parcel => return self.mesh.send(to, parcel),
            }
        }
        self.mesh.send(to, parcel)
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) {
        self.mesh.flush();
    }

    /// The next batch that has arrived, to be taken with [`Self::next_message`]: who sent it, and of how many messages it is.
    pub(super) fn receive(&mut self) -> Option<(ShardId, usize)> {
        self.mesh.receive()
    }

    /// How long the batch that was just begun had been on its way, in microseconds.
    pub(super) fn take_hop_us(&mut self) -> Option<u64> {
        self.mesh.take_hop_us()
    }

    /// The next message of that batch, which is from this peer, that is meant for what this shard is now.
    pub(super) fn next_message(&mut self, from: ShardId) -> Option<Parcel> {
        loop {
            let parcel = self.mesh.next_message()?;
            if !self.unheard.contains(from) || parcel.outlives_failure() {
                return Some(parcel);
            }
        }
    }

    /// Whether a batch has arrived.
    pub(super) fn have_sent(&self) -> bool {
        self.mesh.has_arrived()
    }

    /// Messages that no link has taken yet.
    pub(super) fn queued(&self) -> usize {
        self.mesh.depth()
    }

    /// Whether nothing waits to be sent or heard.
    pub(super) fn are_quiet(&self) -> bool {
        self.queued() == 0 && !self.have_sent()
    }

    /// These do no turns, of all shards; those of them that are others.
    pub(super) fn note_silent(&mut self, mut silent: ShardSet) -> ShardSet {
        silent.remove(self.me);
        self.silent = silent;
        silent
    }

    /// Those that do no turns.
    pub(super) fn silent(&self) -> &ShardSet {
        &self.silent
    }

    /// One has heard that this shard has begun anew, for the time of this number. What it sends from now on is for what that is,
    /// unless it has failed again since.
    pub(super) fn note_heard(&mut self, from: ShardId, restarts: u64) {
        if restarts == self.restarts {
            self.unheard.remove(from);
        }
    }

    /// One has no client left.
    pub(super) fn note_drained(&mut self, from: ShardId) {
        self.drained.insert(from);
    }

    /// Whether none has a client left that does turns.
    pub(super) fn are_drained(&self) -> bool {
        self.all_that_turn(|peer| self.drained.contains(peer))
    }

    /// One is at rest, and says so for the time of this number.
    pub(super) fn note_at_rest(&mut self, from: ShardId, round: u8) {
        let at = usize::from(from.0);
        if self.rests.len() <= at {
            self.rests.resize(at + 1, 0);
        }
        self.rests[at] = round;
    }

    /// Whether all that do turns have said so often that they are at rest.
    pub(super) fn are_at_rest(&self, round: u8) -> bool {
        let has_said = |peer: ShardId| self.rests.get(usize::from(peer.0)).is_some_and(|said| *said >= round);
        round == 0 || self.all_that_turn(has_said)
    }

    fn all_that_turn(&self, is_so: impl Fn(ShardId) -> bool) -> bool {
        self.all().all(|peer| self.silent.contains(peer) || is_so(peer))
    }

    /// From now on links are full sooner.
    #[cfg(test)]
    pub(super) fn narrow(&mut self, bounds: crate::mesh::Bounds) {
        self.mesh.narrow(bounds);
    }

    /// Publications that wait for the link on which most do, and their bytes.
    #[cfg(test)]
    pub(super) fn most_publications(&self) -> crate::mesh::Bounds {
        self.mesh.most_publications()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mesh::{self, ShardMessage},
        model::{ChannelName, Payload},
        ring::Doorbell,
    };

    const ME: ShardId = ShardId(0);
    const OTHER: ShardId = ShardId(1);
    const THIRD: ShardId = ShardId(2);

    /// Three shards that know each other.
    fn three() -> [Peers; 3] {
        let bells = [(); 3].map(|()| Doorbell::new().expect("eventfd"));
        let mut links = mesh::full(&bells).into_iter();
        [ME, OTHER, THIRD].map(|me| Peers::new(me, 3, links.next().expect("three").connect()))
    }

    fn publish() -> Parcel {
        let channel = ChannelName::new("news", 255).expect("a name");
        mesh::Message::Publish { channel, payload: Payload::new(Vec::new(), None), ticket: None }.into()
    }

    /// Sends this, and tells what is heard of it.
    fn say(from: &mut Peers, to: &mut Peers, all: impl IntoIterator<Item = Parcel>) -> Vec<Parcel> {
        all.into_iter().for_each(|parcel| from.send(to.me, parcel).expect("it passes"));
        from.flush();
        hear(to)
    }

    fn hear(peers: &mut Peers) -> Vec<Parcel> {
        let mut heard = Vec::new();
        while let Some((from, _)) = peers.receive() {
            while let Some(parcel) = peers.next_message(from) {
                if let Parcel::Shard(ShardMessage::LossHeard { restarts }) = parcel {
                    peers.note_heard(from, restarts);
                }
                heard.push(parcel);
            }
        }
        heard
    }

    #[test]
    fn what_was_meant_for_a_shard_before_it_failed_is_not_heard() {
        let [mut me, mut other, mut third] = three();
        assert_eq!(say(&mut other, &mut me, [publish()]).len(), 1);
        me.begin_anew(2);
        let room = || ShardMessage::GiveRoom { given: 7 }.into();
        let heard = say(&mut other, &mut me, [publish(), room(), ShardMessage::Drained.into()]);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(matches!(heard[0], Parcel::Shard(ShardMessage::GiveRoom { given: 7 })), "room is never lost");
        let of = |restarts| ShardMessage::LossHeard { restarts }.into();
        let heard = say(&mut other, &mut me, [of(1), publish()]);
        assert_eq!(heard.len(), 1, "that was about the time before");
        let heard = say(&mut other, &mut me, [publish(), of(2), publish()]);
        assert!(matches!(heard[..], [Parcel::Shard(_), Parcel::Hub(_)]), "{heard:?}");
        assert_eq!(say(&mut third, &mut me, [publish()]).len(), 0, "each says it for itself");
    }

    #[test]
    fn of_a_silent_peer_nothing_is_asked_and_what_it_is_owed_is_kept_for_it() {
        let [mut me, mut other, _third] = three();
        assert_eq!(me.note_silent([ME, OTHER].into_iter().collect()).iter().collect::<Vec<_>>(), [OTHER]);
        assert!(matches!(me.send(OTHER, publish()), Err(Refused::Publish(_))));
        assert!(me.are_quiet());
        assert!(me.send(THIRD, publish()).is_ok());
        me.send(OTHER, ShardMessage::GiveRoom { given: 1 }.into()).expect("it passes");
        assert_eq!((me.queued(), me.are_quiet()), (2, false));
        me.flush();
        assert!(other.have_sent() && me.are_quiet());
        assert_eq!(hear(&mut other).len(), 1);
        me.note_silent(ShardSet::default());
        assert!(me.send(OTHER, publish()).is_ok(), "it does turns again");
    }

    #[test]
    fn a_silent_peer_is_waited_for_neither_to_be_drained_nor_to_come_to_rest() {
        let [mut me, ..] = three();
        assert!(me.are_at_rest(0) && !me.are_at_rest(1) && !me.are_drained());
        me.note_drained(OTHER);
        me.note_at_rest(OTHER, 2);
        assert!(!me.are_drained() && !me.are_at_rest(1));
        me.note_silent([THIRD].into_iter().collect());
        assert!(me.are_drained() && me.are_at_rest(2) && !me.are_at_rest(3));
        me.begin_anew(1);
        assert!(me.are_drained(), "that is so for good");
        assert!(!me.are_at_rest(1), "what is under way now it has not known of");
    }

    #[test]
    fn a_shard_is_no_peer_of_its_own() {
        let [_me, other, _third] = three();
        assert_eq!(other.all().collect::<Vec<_>>(), [ME, THIRD]);
        assert!([ME, THIRD].into_iter().all(|peer| other.has(peer)));
        assert!(!other.has(OTHER) && !other.has(ShardId(3)) && !other.are_none());
    }
}
