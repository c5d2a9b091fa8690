//! The Socket.IO cluster of which the process is a member, as the shard sees it: what is published and asked here goes to it at the
//! end of each turn; what it says is told to the application of shard 0. What nodes ask each other of channels is in `nodes.rs`.

use super::{broker::LOTS_PER_TURN, nodes::Nodes, turn::Shard};
use crate::{
    broker::cluster::{Cluster, ClusterAsk, ClusterNews},
    limits::FANOUT_BACKLOG_BYTES_MAX,
    mesh::ShardReport,
    model::{ChannelName, namespace_of},
    wire::redis_adapter::sharded::is_said_to_room,
};

impl Shard {
    /// Becomes a part of the member, if there is a cluster.
    pub(super) fn begin_cluster(&mut self, cluster: Option<Cluster>) {
        self.foundation.cluster = cluster;
        self.tell_cluster_publications();
    }

    /// Has the cluster told what is published here, and with which rooms somebody here has to do, as far as it wants to know.
    fn tell_cluster_publications(&mut self) {
        if self.foundation.cluster.as_ref().is_some_and(Cluster::wants_publications) {
            self.hub.join_cluster();
        }
        if self.foundation.cluster.as_ref().is_some_and(Cluster::wants_rooms) {
            self.hub.tell_rooms();
        }
    }

    /// Tells it that somebody here has to do with a room, or nobody has any more. An event to what may be a socket's id is said where
    /// all hear it.
    pub(super) fn tell_cluster_of_room(&self, channel: &ChannelName, is_there: bool) {
        let (namespace, room) = namespace_of(channel);
        if let Some(room) = room.map(Box::from)
            && is_said_to_room(std::slice::from_ref(&room))
        {
            self.ask_cluster(ClusterAsk::Room { namespace: namespace.into(), room, is_there });
        }
    }

    /// A shard that begins anew has no namespace in use until its application has said so.
    pub(super) fn begin_cluster_anew(&mut self) {
        if let Some(cluster) = &self.foundation.cluster {
            cluster.ask(ClusterAsk::Begin);
        }
        self.foundation.nodes = Nodes::default();
        self.tell_cluster_publications();
    }

    /// Hears what the cluster says. While too much waits to be handed out it waits, as other shards do.
    pub(super) fn hear_cluster(&mut self) {
        for _ in 0..LOTS_PER_TURN {
            if self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX {
                break;
            }
            let Some(lot) = self.foundation.cluster.as_ref().and_then(Cluster::next_news) else { break };
            for news in lot {
                self.hear_member(news);
                self.run_orders();
            }
            self.settle();
        }
    }

    fn hear_member(&mut self, news: ClusterNews) {
        match news {
            ClusterNews::Surveys { namespace, id, survey } => self.answer_node(namespace, id, survey),
            ClusterNews::Answered { token, answers, missing } => {
                match self.foundation.nodes.take_asker(token) {
                    Some(asker) => self.tell_of_nodes(asker, answers, missing),
                    None => {
                        let news = ClusterNews::Answered { token, answers, missing };
                        self.engines.io.cluster_said(news);
                    }
                }
            }
            news => self.engines.io.cluster_said(news),
        }
    }

    /// Tells or asks the cluster something.
    pub(super) fn ask_cluster(&self, ask: ClusterAsk) {
        if let Some(cluster) = &self.foundation.cluster {
            cluster.ask(ask);
        }
    }

    /// Lets what the turn has brought leave.
    pub(super) fn flush_cluster(&self) {
        if let Some(cluster) = &self.foundation.cluster {
            cluster.flush();
        }
    }

    /// Whether the cluster says something.
    pub(super) fn has_cluster_news(&self) -> bool {
        self.foundation.cluster.as_ref().is_some_and(Cluster::has_news)
    }

    /// Writes what the cluster has counted into the report of shard 0.
    pub(super) fn report_cluster(&self, into: &mut ShardReport) {
        let Some(counts) = self.foundation.cluster.as_ref().and_then(Cluster::counts) else { return };
        into.cluster_up = counts.is_up.into();
        into.cluster_told_total = counts.told;
        into.cluster_heard_total = counts.heard;
        into.cluster_ignored_total = counts.ignored;
        into.cluster_dropped_total = counts.dropped;
    }
}
