//! Which core each shard is pinned to. The pinning itself is the shard's.

use std::fmt;

use crate::{config::CpuList, limits::SHARDS_MAX};

/// The cores asked for are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoresError {
    /// The process's affinity mask could not be read, or is empty.
    MaskUnreadable,
    /// A core asked for is not in the affinity mask.
    NotAllowed {
        /// The core.
        cpu: usize,
        /// The mask.
        allowed: CpuList,
    },
}

/// One core per shard, of the process's affinity mask. `shards` 0 takes one shard per core.
pub(super) fn assign(shards: u16, cpus: &CpuList) -> Result<Vec<usize>, CoresError> {
    choose(shards, cpus, &mask())
}

/// The cores of the process's affinity mask that none of these is.
pub(super) fn without_shard(of_shards: &[usize]) -> Vec<usize> {
    let mask = mask();
    mask.as_slice().iter().copied().filter(|core| !of_shards.contains(core)).collect()
}

fn mask() -> CpuList {
    let mask = core_affinity::get_core_ids().unwrap_or_default();
    CpuList::new(mask.into_iter().map(|core| core.id))
}

/// How many shards [`assign`] gives cores to; of cores that this machine lacks, as many as are named.
pub(super) fn count(shards: u16, cpus: &CpuList) -> u16 {
    let count = match assign(shards, cpus) {
        Ok(cores) => cores.len(),
        Err(_) if shards > 0 => shards.into(),
        Err(_) => cpus.as_slice().len().clamp(1, SHARDS_MAX.into()),
    };
    count as u16
}

fn choose(shards: u16, cpus: &CpuList, allowed: &CpuList) -> Result<Vec<usize>, CoresError> {
    let chosen = match cpus.as_slice() {
        [] => allowed.as_slice(),
        asked => asked,
    };
    if let Some(cpu) = chosen.iter().copied().find(|cpu| !allowed.as_slice().contains(cpu)) {
        return Err(CoresError::NotAllowed { cpu, allowed: allowed.clone() });
    }
    if chosen.is_empty() {
        return Err(CoresError::MaskUnreadable);
    }
    let count = match usize::from(shards) {
        0 => chosen.len().min(SHARDS_MAX.into()),
        count => count,
    };
    Ok(chosen.iter().copied().cycle().take(count).collect())
}

impl fmt::Display for CoresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaskUnreadable => f.write_str(
                "the process's CPU affinity mask cannot be read; name the cores with server.cpus (--cpus 0-3)",
            ),
            Self::NotAllowed { cpu, allowed } => write!(
                f,
                "server.cpus names core {cpu}, and this process may use {allowed} (`taskset -pc $$` shows the mask); \
                 choose among those (--cpus {allowed})"
            ),
        }
    }
}

impl std::error::Error for CoresError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().expect("a list")
    }

    #[test]
    fn shards_take_the_mask_one_each_or_the_cores_they_are_given() {
        assert_eq!(choose(0, &list(""), &list("1,4-5")), Ok(vec![1, 4, 5]));
        assert_eq!(choose(2, &list(""), &list("1,4-5")), Ok(vec![1, 4]));
        assert_eq!(choose(0, &list("5"), &list("1,4-5")), Ok(vec![5]));
    }

    #[test]
    fn more_shards_than_cores_take_turns() {
        assert_eq!(choose(5, &list("1-2"), &list("0-3")), Ok(vec![1, 2, 1, 2, 1]));
    }

    #[test]
    fn a_core_outside_the_mask_is_refused_with_the_mask() {
        assert_eq!(
            choose(0, &list("1,7"), &list("0-3")).expect_err("refused").to_string(),
            "server.cpus names core 7, and this process may use 0-3 (`taskset -pc $$` shows the mask); choose among \
             those (--cpus 0-3)"
        );
        assert_eq!(choose(1, &list(""), &list("")), Err(CoresError::MaskUnreadable));
    }

    #[test]
    fn the_cores_without_a_shard_are_the_others_of_the_mask() {
        let all = mask();
        let [first, others @ ..] = all.as_slice() else { panic!("this machine has a core") };
        assert_eq!(without_shard(&[*first, 100_000]), others);
        assert!(without_shard(all.as_slice()).is_empty());
    }

    #[test]
    fn this_machine_has_a_core() {
        assert_eq!(assign(3, &CpuList::default()).map(|cores| cores.len()), Ok(3));
    }

    #[test]
    fn shards_are_counted_as_they_are_started_and_on_another_machine_by_the_cores_they_are_given() {
        let cores = assign(0, &CpuList::default()).expect("the mask can be read").len();
        assert_eq!(usize::from(count(0, &CpuList::default())), cores);
        assert_eq!(count(3, &CpuList::default()), 3);
        let (elsewhere, first) = (list("1019-1023"), list("1019"));
        assert_eq!([count(0, &elsewhere), count(2, &elsewhere), count(0, &first)], [5, 2, 1]);
    }
}
