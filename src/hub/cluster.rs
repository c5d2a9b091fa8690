//! What is told the other members of a Socket.IO cluster: what is published here, by whatever way. What comes from one of them is
//! not, and is nothing to a channel that is not there.

use super::{Hub, Output};
use crate::model::{ChannelName, Emission, Payload, Reach, SharedPublication};

impl Hub {
    /// From now on a Socket.IO cluster is told what is published.
    pub fn join_cluster(&mut self) {
        self.is_in_cluster = true;
    }

    /// From now on it is told with which channels somebody here has to do, too: those there are, and each that comes or goes.
    pub fn tell_rooms(&mut self) {
        self.tells_rooms = true;
        for index in 0..self.channels.end() {
            let owned = self.channels.get(index).filter(|channel| channel.stream().is_some());
            if let Some(channel) = owned.map(|channel| channel.name.clone()) {
                self.tell_cluster_of_room(&channel, true);
            }
        }
    }

    /// Somebody has to do with a channel, or nobody has any more.
    pub(super) fn tell_cluster_of_room(&mut self, channel: &ChannelName, is_there: bool) {
        if self.tells_rooms {
            self.outputs.push_back(Output::Room { channel: channel.clone(), is_there });
        }
    }

    /// Whether a publication comes from the cluster, and nobody here has to do with its channel.
    pub(super) fn is_of_strangers(&self, channel: &ChannelName, payload: &Payload) -> bool {
        self.is_in_cluster
            && reach(payload) == Reach::FromElsewhere
            && self.channels.find(channel).is_none_or(|index| self.channels[index].stream().is_none())
    }

    /// Tells the cluster of a publication, if it is for it.
    pub(super) fn tell_cluster(
        &mut self,
        payload: &Payload,
        publication: impl FnOnce() -> SharedPublication,
    ) {
        if self.is_in_cluster && payload.change.is_none() && reach(payload) == Reach::Everywhere {
            self.outputs.push_back(Output::Cluster(publication()));
        }
    }
}

fn reach(payload: &Payload) -> Reach {
    payload.emission.as_deref().map_or(Reach::Everywhere, |Emission { reach, .. }| *reach)
}
