//! How many connections this process can hold, and what sets that number.
//!
//! A connection is a registered descriptor of its shard's ring, not an open file of the process, so the open-files
//! limit bounds each ring and not their sum. The operator's limit is all the same what the process keeps to, unless
//! `limits.connections_max` asks for more.

use std::fmt;

use roadstead_tuning::{ceiling::MemoryBound, rules, setting};

use super::rlimits::Limits;
use crate::{
    limits::{RING_DESCRIPTORS_MAX, SHARDS_MAX},
    shard,
};

/// How many connections a process can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// In all.
    pub connections: u32,
    /// Of one shard at most, when the others lend it their room.
    pub per_shard_limit: u32,
    /// What sets the number.
    pub set_by: SetBy,
}

/// What sets how many connections a process can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// `limits.connections_max`.
    Setting,
    /// The open-files limit, less what the process keeps for itself.
    OpenFiles {
        /// The limit.
        nofile: u64,
        /// Kept for listeners, rings, log and metrics.
        reserve: u64,
    },
    /// The memory: the open-files limit allows more than could ever be held.
    Memory(MemoryBound),
    /// What the kernel gives all rings together.
    Rings,
}

/// The process cannot hold what it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CeilingError {
    /// The open-files limit does not even hold what the process opens for itself.
    NothingLeft {
        /// The limit.
        nofile: u64,
        /// What it has to be at least.
        needed: u64,
    },
    /// `limits.connections_max` is more than the memory holds, were there nothing in it but their sockets.
    BeyondMemory {
        /// What is asked for.
        asked: u32,
        /// What there is.
        memory: MemoryBound,
    },
    /// `limits.connections_max` is more than the rings hold.
    Beyond {
        /// What is asked for.
        asked: u32,
        /// What can be held.
        held: u32,
        /// With how many shards.
        shards: u16,
        /// The open-files limit.
        nofile: u64,
        /// What it would have to be; `None` when no limit would help.
        nofile_needed: Option<u64>,
        /// With how many shards it could be held as it is; `None` when no number would do.
        shards_needed: Option<u16>,
        /// The sysctl that bounds the open-files limit, when it has to be raised as well.
        nr_open: Option<u64>,
    },
}

/// A shard can take in at least this many beyond its share, if others lend it room.
const LENT_MIN: u32 = 64;

/// Computes the ceiling. `asked` is `limits.connections_max`; 0 leaves it to the machine.
pub(super) fn compute(
    asked: u32,
    shards: u16,
    listeners: u64,
    limits: &Limits,
) -> Result<Ceiling, CeilingError> {
    let slots = slots_beside_connections(listeners);
    let reserve = rules::descriptors_reserved(shards.into(), listeners).max(slots);
    if limits.nofile <= reserve {
        return Err(CeilingError::NothingLeft { nofile: limits.nofile, needed: reserve + 1 });
    }
    let per_ring = limits.nofile.min(RING_DESCRIPTORS_MAX.into()) - slots;
    let held = saturate(per_ring * u64::from(shards));
    if asked > held {
        return Err(beyond(asked, held, shards, per_ring, slots, limits));
    }
    if let Some(memory) = limits.memory.filter(|memory| u64::from(asked) > memory.connections_most) {
        return Err(CeilingError::BeyondMemory { asked, memory });
    }
    let (connections, set_by) = match asked {
        0 => unasked(held, reserve, limits),
        asked => (asked, SetBy::Setting),
    };
    let share = connections.div_ceil(shards.into());
    // A shard that is alone has nobody to lend it anything.
    let lent = if shards == 1 { 0 } else { (share / 2).saturating_add(LENT_MIN) };
    let per_shard_limit = saturate(per_ring).min(share.saturating_add(lent));
    Ok(Ceiling { connections, per_shard_limit, set_by })
}

/// Slots of a ring's descriptor table that hold no admitted connection, with `listeners` public listeners and the
/// admin listener.
fn slots_beside_connections(listeners: u64) -> u64 {
    u64::from(shard::descriptors_needed(0, saturate(listeners + 1)))
}

impl Ceiling {
    /// One shard's equal share; the shares of all add up to [`Self::connections`].
    pub fn share(&self, shard: u16, shards: u16) -> u32 {
        let (shard, shards) = (u32::from(shard), u32::from(shards));
        self.connections / shards + u32::from(shard < self.connections % shards)
    }
}

/// What the machine allows when nobody asks for a number.
fn unasked(held: u32, reserve: u64, limits: &Limits) -> (u32, SetBy) {
    let nofile = limits.nofile;
    let open_files = (saturate(nofile - reserve), SetBy::OpenFiles { nofile, reserve });
    let memory = limits.memory.map(|memory| (saturate(memory.connections.max(1)), SetBy::Memory(memory)));
    let candidates = [Some(open_files), memory, Some((held, SetBy::Rings))];
    candidates.into_iter().flatten().min_by_key(|(connections, _)| *connections).expect("there is always one")
}

fn beyond(asked: u32, held: u32, shards: u16, per_ring: u64, slots: u64, limits: &Limits) -> CeilingError {
    let share = u64::from(asked.div_ceil(shards.into()));
    let nofile_needed = share + slots;
    let shards_needed = u16::try_from(u64::from(asked).div_ceil(per_ring)).ok();
    CeilingError::Beyond {
        asked,
        held,
        shards,
        nofile: limits.nofile,
        nofile_needed: (nofile_needed <= RING_DESCRIPTORS_MAX.into()).then_some(nofile_needed),
        shards_needed: shards_needed.filter(|needed| *needed <= SHARDS_MAX),
        nr_open: limits.nr_open.filter(|nr_open| *nr_open < nofile_needed),
    }
}

fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting => f.write_str("limits.connections_max"),
            Self::OpenFiles { nofile, reserve } => {
                write!(f, "the open-files limit, {nofile}, less {reserve} for the process itself")
            }
            Self::Memory(memory) => {
                write!(f, "{} of memory (`roadstead tune explain memory` shows the sum)", whose(memory))
            }
            Self::Rings => write!(f, "the rings, each of which holds {RING_DESCRIPTORS_MAX} descriptors"),
        }
    }
}

/// Whose memory it is, and how much.
fn whose(memory: &MemoryBound) -> String {
    let (amount, unit) =
        if memory.bytes < 10 << 30 { (memory.bytes >> 20, "MiB") } else { (memory.bytes >> 30, "GiB") };
    format!("{}'s {amount} {unit}", memory.owner)
}

impl fmt::Display for CeilingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NothingLeft { nofile, needed } => write!(
                f,
                "the open-files limit is {nofile} and has to be {needed} for the server to hold one connection: {}",
                setting::cure("nofile", needed)
            ),
            Self::BeyondMemory { asked, memory } => {
                let most = memory.connections_most;
                write!(
                    f,
                    "limits.connections_max is {asked}, and {} of memory hold {most} sockets at most and nothing else: \
                     ask for what they hold with room to work (--connections {}), or have more: {}",
                    whose(&memory),
                    memory.connections,
                    setting::cure(memory.setting, memory.bytes_for(asked.into())),
                )
            }
            Self::Beyond { asked, held, shards, nofile, nofile_needed, shards_needed, nr_open } => {
                let plural = if shards == 1 { "shard holds" } else { "shards hold" };
                write!(f, "limits.connections_max is {asked}, and {shards} {plural} {held} at most: ")?;
                if nofile < RING_DESCRIPTORS_MAX.into() {
                    write!(f, "the open-files limit, {nofile}, bounds each")?;
                } else {
                    write!(
                        f,
                        "the kernel, which gives a ring {RING_DESCRIPTORS_MAX} descriptors, bounds each"
                    )?;
                }
                if let Some(needed) = nofile_needed {
                    write!(f, "; it has to be {needed}: {}", setting::cure("nofile", needed))?;
                    if nr_open.is_some() {
                        write!(f, ", after {}", setting::cure("nr-open", needed))?;
                    }
                }
                if let Some(shards) = shards_needed {
                    write!(f, "; or run {shards} shards (--shards {shards})")?;
                }
                write!(f, "; or ask for less (--connections {held})")
            }
        }
    }
}

impl std::error::Error for CeilingError {}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: MemoryBound = MemoryBound {
        connections: 4_600_000,
        connections_most: 6_100_000,
        bytes: 24 << 30,
        owner: "this machine",
        setting: "memory",
    };

    fn limits(nofile: u64) -> Limits {
        Limits { nofile, memory: Some(MEMORY), nr_open: Some(1 << 20) }
    }

    #[test]
    fn by_itself_a_process_keeps_to_the_open_files_limit() {
        let ceiling = compute(0, 2, 1, &limits(20_000)).expect("room");
        assert_eq!(ceiling.connections, 20_000 - 128);
        assert_eq!((ceiling.share(0, 2), ceiling.share(1, 2)), (9_936, 9_936));
        assert_eq!(
            ceiling.set_by.to_string(),
            "the open-files limit, 20000, less 128 for the process itself"
        );
    }

    #[test]
    fn one_shard_always_leaves_its_slots_for_refusals() {
        let ceiling = compute(0, 1, 1, &limits(1024)).expect("room");
        assert!(u64::from(shard::descriptors_needed(ceiling.per_shard_limit, 2)) <= 1024, "{ceiling:?}");
    }

    #[test]
    fn an_unlimited_number_of_open_files_leaves_it_to_the_memory() {
        let ceiling = compute(0, 5, 1, &limits(1 << 30)).expect("room");
        assert_eq!(ceiling.connections, 4_600_000);
        assert_eq!(
            ceiling.set_by.to_string(),
            "this machine's 24 GiB of memory (`roadstead tune explain memory` shows the sum)"
        );
    }

    #[test]
    fn asking_for_more_than_the_memory_can_ever_hold_is_refused_and_for_less_than_that_is_not() {
        assert!(compute(6_100_000, 8, 1, &limits(1 << 30)).is_ok());
        assert_eq!(
            compute(6_100_001, 8, 1, &limits(1 << 30)).expect_err("refused").to_string(),
            "limits.connections_max is 6100001, and this machine's 24 GiB of memory hold 6100000 sockets at most and \
             nothing else: ask for what they hold with room to work (--connections 4600000), or have more: a box with \
             32590 MiB of memory, or a smaller target"
        );
    }

    #[test]
    fn asking_for_more_than_the_open_files_limit_is_met_by_several_rings() {
        let ceiling = compute(100_000, 8, 1, &limits(20_000)).expect("8 rings of 19,872");
        assert_eq!(
            (ceiling.connections, ceiling.per_shard_limit, ceiling.set_by),
            (100_000, 12_500 + 6_250 + 64, SetBy::Setting)
        );
        assert_eq!(
            compute(8 * 19_872, 8, 1, &limits(20_000)).map(|ceiling| ceiling.per_shard_limit),
            Ok(19_872)
        );
        assert!(compute(8 * 19_872 + 1, 8, 1, &limits(20_000)).is_err());
    }

    #[test]
    fn asking_for_more_than_the_rings_hold_is_refused_with_every_cure() {
        assert_eq!(
            compute(100_000, 2, 1, &limits(20_000)).expect_err("refused").to_string(),
            "limits.connections_max is 100000, and 2 shards hold 39744 at most: the open-files limit, 20000, bounds \
             each; it has to be 50128: start with `ulimit -n 50128` as root (systemd: LimitNOFILE=50128; docker: \
             --ulimit nofile=50128:50128); or run 6 shards (--shards 6); or ask for less (--connections 39744)"
        );
        let low = Limits { nr_open: Some(1 << 19), ..limits(20_000) };
        assert_eq!(
            compute(1_000_000, 1, 1, &low).expect_err("refused").to_string(),
            "limits.connections_max is 1000000, and 1 shard holds 19872 at most: the open-files limit, 20000, bounds \
             each; it has to be 1000128: start with `ulimit -n 1000128` as root (systemd: LimitNOFILE=1000128; \
             docker: --ulimit nofile=1000128:1000128), after `sysctl -w fs.nr_open=1000128`; or run 51 shards \
             (--shards 51); or ask for less (--connections 19872)"
        );
    }

    #[test]
    fn a_ring_holds_as_many_descriptors_as_the_kernel_gives_one_whatever_the_open_files_limit() {
        let alone = compute(1_000_000, 1, 1, &limits(1 << 30)).expect("room");
        assert_eq!(alone.per_shard_limit, 1_000_000, "nobody lends it anything");
        let most = RING_DESCRIPTORS_MAX - 128;
        let ceiling = compute(most, 1, 1, &limits(1 << 30)).expect("room");
        assert_eq!(shard::descriptors_needed(ceiling.per_shard_limit, 2), RING_DESCRIPTORS_MAX);
        assert_eq!(
            compute(most + 1, 1, 1, &limits(1 << 30)).expect_err("refused").to_string(),
            "limits.connections_max is 1048449, and 1 shard holds 1048448 at most: the kernel, which gives a ring \
             1048576 descriptors, bounds each; or run 2 shards (--shards 2); or ask for less (--connections 1048448)"
        );
    }

    #[test]
    fn a_limit_below_the_process_s_own_needs_is_refused() {
        assert!(compute(0, 1, 1, &limits(129)).is_ok());
        assert_eq!(
            compute(0, 1, 1, &limits(128)).expect_err("refused").to_string(),
            "the open-files limit is 128 and has to be 129 for the server to hold one connection: start with \
             `ulimit -n 129` as root (systemd: LimitNOFILE=129; docker: --ulimit nofile=129:129)"
        );
    }
}
