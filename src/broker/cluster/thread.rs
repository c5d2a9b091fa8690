//! The thread that speaks with the cluster, for the whole process: beside that of the broker, and for the same reasons
//! ([`crate::backend`]).

use std::{cell::RefCell, rc::Rc, sync::Arc, thread};

use async_channel::{Receiver, Sender, bounded, unbounded};
use futures_lite::future::{or, race};

use super::{
    Cluster, ClusterAsk, ClusterNews, ClusterSettings, Counts, Members, member::Member, terms::Terms,
};
use crate::{
    backend::{self, StartError},
    broker::tended::{Journal, Tended, connector},
    limits::CLUSTER_NEWS_MAX,
    model::ShardId,
    ring::Doorbell,
    wire::redis_adapter::Names,
};

/// What the thread has of the shards.
struct Ends {
    asks: Receiver<(ShardId, Vec<ClusterAsk>)>,
    news: Vec<(Sender<Vec<ClusterNews>>, Doorbell)>,
}

/// Starts the thread; an end for each shard, which hears by its bell. The thread ends when the last end is gone.
pub fn start(settings: ClusterSettings, bells: &[Doorbell]) -> Result<Vec<Cluster>, StartError> {
    let connector = connector(&settings.ca_file, settings.identity.as_ref(), settings.address.is_tls())?;
    let ((asks, asked), counts) = (unbounded(), Arc::<Counts>::default());
    let (mut clusters, mut news) = (Vec::new(), Vec::new());
    for (shard, bell) in (0..).map(ShardId).zip(bells) {
        let (tell, told) = bounded(CLUSTER_NEWS_MAX);
        let (asks, gathered, counts) = (asks.clone(), RefCell::default(), Arc::clone(&counts));
        let (members, has_nodes) = (settings.members, settings.siblings.is_some());
        clusters.push(Cluster { shard, members, has_nodes, asks, gathered, counts, news: told });
        news.push((tell, bell.clone()));
    }
    let ends = Ends { asks: asked, news };
    let member = Member::new(terms(&settings), counts);
    let run = move || async_io::block_on(tend(&connector, member, settings, ends));
    thread::Builder::new().name("cluster".to_owned()).spawn(run).map_err(StartError::Thread)?;
    Ok(clusters)
}

#[cfg(test)]
impl Cluster {
    /// A shard's end without a thread, among nodes, and what it is told by.
    pub(crate) fn without_thread() -> (Self, Sender<Vec<ClusterNews>>) {
        let ((asks, _), (tell, news)) = (unbounded(), unbounded());
        let (members, gathered, counts) = (Members::Nodes, RefCell::default(), Arc::default());
        (Self { shard: ShardId(0), members, has_nodes: true, asks, gathered, counts, news }, tell)
    }
}

fn terms(settings: &ClusterSettings) -> Terms {
    let siblings = settings.siblings.as_ref().map(|prefix| format!("{prefix}/"));
    let drawn: String = (0..6).map(|_| fastrand::alphanumeric()).collect();
    Terms {
        address: settings.address.clone(),
        names: Names::new(&settings.key),
        uid: format!("{}{drawn}", siblings.as_deref().unwrap_or_default()).into(),
        nodes: settings.siblings.as_ref().map(|prefix| format!("nodes:{prefix}").into()),
        members: settings.members,
        siblings: siblings.map(Into::into),
        bytes_max: settings.bytes_max,
    }
}

/// Speaks with the cluster until the shards have gone.
async fn tend(connector: &backend::Connector, member: Member, settings: ClusterSettings, ends: Ends) {
    let Ends { asks, news } = ends;
    let journal = match settings.members {
        Members::Anybody | Members::Sharded => {
            Journal::new("the Redis of the Socket.IO cluster", settings.address)
        }
        // That it is away the links to the broker tell.
        Members::Nodes => Journal::of_refusals("the broker, asked about other nodes,", settings.address),
    };
    let tended = Tended::new(member, Rc::new(journal));
    let heard = async {
        while let Ok((shard, asked)) = asks.recv().await {
            let now_ms = tended.now_ms();
            for ask in asked {
                tended.speaker.borrow_mut().handle_ask(now_ms, shard, ask);
            }
            tended.notify();
        }
    };
    let told = async {
        loop {
            tended.has_news().await;
            let said = tended.speaker.borrow_mut().poll_news();
            let mut each: Vec<Vec<_>> = news.iter().map(|_| Vec::new()).collect();
            said.into_iter().for_each(|(ShardId(shard), news)| each[usize::from(shard)].push(news));
            for ((news, bell), said) in news.iter().zip(each).filter(|(_, said)| !said.is_empty()) {
                if news.send(said).await.is_err() {
                    return;
                }
                bell.ring();
            }
            tended.note_told();
        }
    };
    race(or(heard, told), tended.speak_on(connector)).await;
}
