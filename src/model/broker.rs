//! What a hub asks of the broker that joins several nodes, and what it hears of it.

use super::{ChannelName, Position, Publication, PublishError, SharedPublication};

/// Which of several brokers makes the order of a channel: the same on every node that names them in the same order, and a
/// further one at the end takes its share of channels from each and moves no others (J. Lamping, E. Veach, "A Fast, Minimal
/// Memory, Consistent Hash Algorithm", 2014).
pub fn broker_of(channel: &ChannelName, brokers: u16) -> u16 {
    if brokers <= 1 {
        return 0;
    }
    let mut key = stable_hash(channel);
    let (mut chosen, mut next) = (0, 0);
    while next < i64::from(brokers) {
        chosen = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((chosen + 1) as f64 * ((1_u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as i64;
    }
    chosen as u16
}

/// A channel's hash that is the same on every node and in every version, as a faster one is not: FNV-1a, in 64 bits.
pub(crate) fn stable_hash(channel: &ChannelName) -> u64 {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    channel.as_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash)
}

/// Something asked of the broker. What is asked of one channel is done in the order asked.
#[derive(Debug)]
pub enum BrokerAsk {
    /// Whoever asks begins, and knows of nothing that was asked before.
    Begin,
    /// Give this its position, keep it, and tell every node that follows its channel.
    Publish {
        /// The asker's own number for it.
        number: u64,
        /// The publication, which has no position yet.
        publication: Box<Publication>,
    },
    /// Tell what is kept of a channel, and from then on what is published there.
    Follow {
        /// The channel.
        channel: ChannelName,
        /// What is kept under an earlier epoch is lost, for whatever reason.
        epoch_min: u64,
    },
    /// Somebody waits for a channel that is to be followed: it goes before those for which nobody does.
    Hurry {
        /// The channel.
        channel: ChannelName,
    },
    /// Tell no more of a channel.
    Leave {
        /// The channel.
        channel: ChannelName,
    },
}

/// Something the broker says. What is said of a channel that is followed is said in the order of its stream.
#[derive(Debug)]
pub enum BrokerNews {
    /// What follows is for who began last.
    Begun,
    /// It can be asked.
    Up,
    /// It cannot be asked. What it has been asked and has not answered waits for a while; of channels that were followed nothing
    /// is told until it tells again what is kept of each.
    Down(BrokerLoss),
    /// What became of a publication.
    Published {
        /// Its number.
        number: u64,
        /// Its position, or why there is none.
        result: Result<Position, PublishError>,
    },
    /// A channel is followed from here on.
    Following {
        /// The channel.
        channel: ChannelName,
        /// Where it is.
        position: Position,
        /// The latest of what is kept of it, oldest first.
        kept: Vec<SharedPublication>,
    },
    /// Where a channel that is followed is, when that was looked at.
    Checked {
        /// The channel.
        channel: ChannelName,
        /// Where it is.
        position: Position,
    },
    /// The next publication of a channel that is followed.
    Pushed {
        /// The channel.
        channel: ChannelName,
        /// Its epoch.
        epoch: u64,
        /// The number it had, if it was asked for here.
        number: Option<u64>,
        /// The publication, without its offset; `None` when it cannot be read.
        publication: Option<Box<Publication>>,
    },
    /// A channel that is followed has begun anew under this epoch.
    Renewed {
        /// The channel.
        channel: ChannelName,
        /// Its epoch.
        epoch: u64,
    },
}

/// Why a broker that was there is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerLoss {
    /// The connection has ended, or failed.
    Closed,
    /// It does not answer.
    Silent,
    /// It answers, and does not pass on what is published.
    Mute,
    /// It takes no writes any more.
    Role,
    /// It refuses to serve.
    Refused,
    /// What it says makes no sense.
    Protocol,
}

impl BrokerLoss {
    /// Every one, in the order declared.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Silent, Self::Mute, Self::Role, Self::Refused, Self::Protocol];

    /// One word for it, in the log and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Mute => "mute",
            Self::Role => "role",
            Self::Refused => "refused",
            Self::Protocol => "protocol",
        }
    }
}

impl BrokerAsk {
    /// The channel it is about; `None` when it is about all.
    pub fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Begin => None,
            Self::Publish { publication, .. } => Some(&publication.channel),
            Self::Follow { channel, .. } | Self::Hurry { channel } | Self::Leave { channel } => Some(channel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_spread_evenly_and_a_further_broker_moves_its_share_alone() {
        let names: Vec<_> =
            (0..10_000).map(|n| ChannelName::new(&format!("room:{n}"), 255).expect("a name")).collect();
        assert!(names.iter().all(|name| broker_of(name, 1) == 0));
        let mut counts = [0; 5];
        let mut moved = 0;
        for name in &names {
            let (four, five) = (broker_of(name, 4), broker_of(name, 5));
            assert!(four == five || five == 4, "{name:?}");
            counts[usize::from(five)] += 1;
            moved += u32::from(four != five);
        }
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        assert!((1_800..2_200).contains(&moved), "{moved}");
    }

    #[test]
    fn a_channel_is_at_the_same_broker_in_every_version() {
        let at = |name: &str| broker_of(&ChannelName::new(name, 255).expect("a name"), 7);
        assert_eq!(["a", "news", "room:1", "room:2", "user:ä"].map(at), [2, 3, 2, 1, 1]);
    }
}
