//! One hub told things by hand. What several of them do together is in `tests/simulator`.

use super::*;
use crate::{
    limits::{FANOUT_GATHERED_BYTES_MAX, FANOUT_PORTION_BYTES, Limits},
    mesh::{HistoryPage, JoinAsked, Question, Survey, Visible, Welcome},
    model::{ConnectionId, Payload, Position, Publication, PublishError, Ticket, Transport},
};

const HERE: ShardId = ShardId(0);
const THERE: ShardId = ShardId(1);
const TICKET: Ticket = Ticket { connection: connection(99), token: 7 };
const AGE_MS: u64 = 1000;

const fn connection(index: u32) -> ConnectionId {
    ConnectionId { index, generation: 1 }
}

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, unix_ms: 0 }
}

fn hub_with(change: impl FnOnce(&mut HubSettings)) -> Hub {
    let mut settings = HubSettings::of_shard(&Limits::default(), HERE, 2, 100, 1, 2);
    settings.history_age_max_ms = AGE_MS;
    change(&mut settings);
    Hub::new(settings)
}

fn hub() -> Hub {
    hub_with(|_| {})
}

/// The `n`th channel that `owner` owns.
fn channel_of(hub: &Hub, owner: ShardId, n: usize) -> ChannelName {
    let names = (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).unwrap());
    names.filter(|name| hub.owner_of(name) == owner).nth(n).unwrap()
}

fn publish(hub: &mut Hub, ms: u64, channel: &ChannelName) -> Result<Position, PublishError> {
    hub.publish(at(ms), channel.clone(), Payload::new(*b"hello", None), Some(TICKET));
    match hub.poll_output() {
        Some(Output::Published { ticket: TICKET, result }) => result,
        other => panic!("no position but {other:?}"),
    }
}

fn subscribe(hub: &mut Hub, index: u32, channel: &ChannelName) -> Result<(), SubscribeError> {
    hub.subscribe(at(0), connection(index), Transport::Json, channel.clone(), None, Some(index))
}

fn next_message(hub: &mut Hub) -> Message {
    match hub.poll_output() {
        Some(Output::Send { to: THERE, message }) => message,
        other => panic!("nothing for the other shard but {other:?}"),
    }
}

fn page(hub: &mut Hub, ms: u64, channel: &ChannelName) -> HistoryPage {
    hub.read_history(at(ms), TICKET, channel, None, 100);
    match hub.poll_output() {
        Some(Output::History { ticket: TICKET, page }) => page,
        other => panic!("no page but {other:?}"),
    }
}

#[test]
fn channels_spread_evenly_over_any_number_of_shards() {
    for shards in [1, 2, 3, 8, 64] {
        let hub = hub_with(|settings| settings.shards = shards);
        let mut owned = vec![0u32; usize::from(shards)];
        let names = (0..shards * 500).map(|n| ChannelName::new(&format!("user:{n}"), 255).unwrap());
        names.for_each(|name| owned[usize::from(hub.owner_of(&name).0)] += 1);
        assert!(owned.iter().all(|count| (400..600).contains(count)), "{owned:?}");
    }
}

#[test]
fn a_foreign_channel_is_published_and_joined_at_its_owner() {
    let mut hub = hub();
    let channel = channel_of(&hub, THERE, 0);
    hub.publish(at(0), channel.clone(), Payload::new(*b"hello", None), Some(TICKET));
    assert!(matches!(next_message(&mut hub), Message::Publish { ticket: Some(TICKET), .. }));
    assert_eq!(subscribe(&mut hub, 1, &channel), Ok(()));
    assert!(matches!(next_message(&mut hub), Message::Join { asked: JoinAsked::NOTHING, .. }));
    assert!(hub.poll_output().is_none() && hub.poll_fanout(FanoutLimit::NONE).is_none());
}

#[test]
fn a_connection_that_waits_to_join_counts_as_subscribed() {
    let mut hub = hub();
    let (channel, other) = (channel_of(&hub, THERE, 0), channel_of(&hub, HERE, 0));
    assert_eq!(subscribe(&mut hub, 1, &channel), Ok(()));
    assert_eq!((hub.subscription_count(1), hub.only_channel(1)), (1, Some(&channel)));
    assert_eq!(subscribe(&mut hub, 1, &channel), Err(SubscribeError::Already));
    assert_eq!(subscribe(&mut hub, 1, &other), Ok(()));
    assert_eq!((hub.subscription_count(1), hub.only_channel(1)), (2, None));
    assert_eq!((hub.subscription_count(2), hub.only_channel(2)), (0, None));
    let subscribers = |hub: &Hub, transport| hub.subscribers(&channel, transport).collect::<Vec<_>>();
    assert_eq!(
        (subscribers(&hub, Transport::Json), subscribers(&hub, Transport::WebSocket)),
        (vec![1], vec![])
    );
    hub.leave_all(connection(1));
    assert_eq!(subscribers(&hub, Transport::Json), [0; 0]);
}

#[test]
fn a_connection_has_as_many_subscriptions_as_it_may_and_not_one_more() {
    let mut hub = hub_with(|settings| settings.subscriptions_per_connection_max = 2);
    let channels = [0, 1, 2].map(|n| channel_of(&hub, HERE, n));
    assert_eq!(subscribe(&mut hub, 1, &channels[0]), Ok(()));
    assert_eq!(subscribe(&mut hub, 1, &channels[1]), Ok(()));
    assert_eq!(subscribe(&mut hub, 1, &channels[2]), Err(SubscribeError::TooMany));
    assert!(hub.unsubscribe(connection(1), &channels[0]));
    assert!(!hub.unsubscribe(connection(1), &channels[0]));
    assert_eq!(subscribe(&mut hub, 1, &channels[2]), Ok(()));
}

#[test]
fn the_second_subscriber_of_a_foreign_channel_joins_without_asking() {
    let mut hub = hub();
    let channel = channel_of(&hub, THERE, 0);
    subscribe(&mut hub, 1, &channel).unwrap();
    let Message::Join { join, .. } = next_message(&mut hub) else { panic!("a join comes first") };
    let position = Position { epoch: 5, offset: 3 };
    let joined = Message::Joined { join, result: Ok(Welcome::to(position)) };
    hub.handle_message(at(0), THERE, joined);
    subscribe(&mut hub, 2, &channel).unwrap();
    for index in [1, 2] {
        match hub.poll_output() {
            Some(Output::Joined { connection: joined, welcome, .. }) => {
                assert_eq!((joined, welcome), (connection(index), Welcome::to(position)));
            }
            other => panic!("connection {index} did not join but {other:?}"),
        }
    }
    hub.leave_all(connection(1));
    assert!(hub.poll_output().is_none(), "somebody is still here");
    hub.leave_all(connection(2));
    assert!(matches!(next_message(&mut hub), Message::Leave { .. }));
}

#[test]
fn a_join_refused_on_the_way_is_told_and_forgotten() {
    let mut hub = hub();
    let channel = channel_of(&hub, THERE, 0);
    subscribe(&mut hub, 1, &channel).unwrap();
    let Message::Join { join, .. } = next_message(&mut hub) else { panic!("a join comes first") };
    let result = Err(PublishError::Busy);
    hub.handle_message(at(0), THERE, Message::Joined { join, result });
    match hub.poll_output() {
        Some(Output::JoinRefused { connection: refused, error, token, .. }) => {
            assert_eq!((refused, error, token), (connection(1), SubscribeError::Busy, Some(1)));
        }
        other => panic!("no refusal but {other:?}"),
    }
    assert_eq!((hub.subscription_count(1), hub.channels.iter().count()), (0, 0));
}

#[test]
fn a_join_ended_before_its_answer_is_told_at_once_and_never_again() {
    let mut hub = hub();
    let channel = channel_of(&hub, THERE, 0);
    subscribe(&mut hub, 1, &channel).unwrap();
    let Message::Join { join, .. } = next_message(&mut hub) else { panic!("a join comes first") };
    assert!(hub.unsubscribe(connection(1), &channel));
    match hub.poll_output() {
        Some(Output::JoinRefused { connection: told, error, token, .. }) => {
            assert_eq!((told, error, token), (connection(1), SubscribeError::Withdrawn, Some(1)));
        }
        other => panic!("no word about the join but {other:?}"),
    }
    assert!(matches!(next_message(&mut hub), Message::Leave { .. }));
    let result = Ok(Welcome::to(Position { epoch: 5, offset: 3 }));
    hub.handle_message(at(0), THERE, Message::Joined { join, result });
    assert!(hub.poll_output().is_none());
}

#[test]
fn whoever_subscribes_and_withdraws_without_end_is_refused_until_owners_answer() {
    let mut hub = hub();
    let channel = channel_of(&hub, THERE, 0);
    let mut joins = Vec::new();
    for _ in 0..crate::limits::JOINS_WITHDRAWN_MAX {
        subscribe(&mut hub, 1, &channel).unwrap();
        let Message::Join { join, .. } = next_message(&mut hub) else { panic!("a join comes first") };
        joins.push(join);
        hub.leave_all(connection(1));
        assert!(matches!(next_message(&mut hub), Message::Leave { .. }));
    }
    assert_eq!(subscribe(&mut hub, 1, &channel), Err(SubscribeError::Busy));
    assert_eq!((hub.subscription_count(1), hub.channels.iter().count()), (0, 0));
    let result = Ok(Welcome::to(Position { epoch: 5, offset: 3 }));
    hub.handle_message(at(0), THERE, Message::Joined { join: joins[0], result });
    subscribe(&mut hub, 1, &channel).unwrap();
}

#[test]
fn a_publication_and_its_channel_are_forgotten_when_their_age_is_reached() {
    let mut hub = hub();
    let channel = channel_of(&hub, HERE, 0);
    let first = publish(&mut hub, 0, &channel).unwrap();
    hub.handle_tick(at(AGE_MS - 1));
    assert_eq!(page(&mut hub, AGE_MS - 1, &channel).publications.len(), 1);
    hub.handle_tick(at(AGE_MS));
    let forgotten = page(&mut hub, AGE_MS, &channel);
    assert_eq!((forgotten.position, forgotten.publications.len()), (None, 0));
    let second = publish(&mut hub, AGE_MS, &channel).unwrap();
    assert_eq!((first.offset, second.offset), (1, 1));
    assert_ne!(first.epoch, second.epoch);
}

#[test]
fn what_is_too_old_goes_in_ticks_that_follow_at_once() {
    let mut hub = hub_with(|settings| settings.channels_max = 10_000);
    let names = (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).unwrap());
    let names: Vec<_> = names.filter(|name| hub.owner_of(name) == HERE).take(3_000).collect();
    names.iter().for_each(|name| publish(&mut hub, 0, name).map(|_| ()).unwrap());
    while hub.poll_output().is_some() {}
    assert!(!hub.has_more());
    let mut looked = hub.handle_tick(at(AGE_MS));
    while hub.has_more() {
        let now = hub.handle_tick(at(AGE_MS));
        assert!(now > 0 && now <= 4096 + 1024, "{now} in one tick");
        looked += now;
    }
    assert_eq!((looked, hub.channels.owned()), (6_000, 0), "each publication, and each channel");
}

#[test]
fn a_subscribed_channel_keeps_its_epoch_however_old_it_is() {
    let mut hub = hub_with(|settings| settings.history_publications_max = 0);
    let channel = channel_of(&hub, HERE, 0);
    let join = Message::Join { channel: channel.clone(), asked: JoinAsked::NOTHING, join: 0 };
    hub.handle_message(at(0), THERE, join);
    let Message::Joined { result: Ok(Welcome { position: joined, .. }), .. } = next_message(&mut hub) else {
        panic!("it may join")
    };
    hub.handle_tick(at(10 * AGE_MS));
    assert_eq!(page(&mut hub, 10 * AGE_MS, &channel).position, Some(joined));
    hub.handle_message(at(10 * AGE_MS), THERE, Message::Leave { channel: channel.clone() });
    hub.handle_tick(at(11 * AGE_MS - 1));
    assert_eq!(page(&mut hub, 11 * AGE_MS - 1, &channel).position, Some(joined));
    hub.handle_tick(at(11 * AGE_MS));
    assert_eq!(page(&mut hub, 11 * AGE_MS, &channel).position, None);
}

#[test]
fn a_channel_too_many_takes_the_place_of_an_unused_one_or_is_refused() {
    let mut hub = hub_with(|settings| {
        settings.channels_max = 2;
        settings.history_publications_max = 0;
    });
    let [used, unused, third, fourth] = [0, 1, 2, 3].map(|n| channel_of(&hub, HERE, n));
    subscribe(&mut hub, 1, &used).unwrap();
    hub.poll_output();
    publish(&mut hub, 0, &unused).unwrap();
    assert_eq!(subscribe(&mut hub, 2, &third), Ok(()));
    hub.poll_output();
    assert_eq!(subscribe(&mut hub, 2, &fourth), Err(SubscribeError::ChannelsFull));
    assert_eq!(publish(&mut hub, 0, &fourth), Err(PublishError::ChannelsFull));
    let mut report = ShardReport::default();
    hub.report(&mut report);
    assert_eq!((report.channels, report.subscriptions), (2, 2));
    assert_eq!((report.publications_total, report.publications_refused_total), (1, 1));
}

#[test]
fn the_oldest_of_all_channels_makes_room_and_the_too_large_is_not_kept() {
    let mut hub = hub();
    let [a, b] = [0, 1].map(|n| channel_of(&hub, HERE, n));
    publish(&mut hub, 0, &a).unwrap();
    let one_bytes = hub.ledgers.bytes();
    hub.settings.history_bytes_max = 2 * one_bytes;
    publish(&mut hub, 0, &b).unwrap();
    publish(&mut hub, 0, &b).unwrap();
    assert_eq!((page(&mut hub, 0, &a).publications.len(), page(&mut hub, 0, &b).publications.len()), (0, 2));
    hub.publish(at(0), a.clone(), Payload::new(vec![0; 2 * one_bytes as usize], None), None);
    assert_eq!((page(&mut hub, 0, &a).publications.len(), page(&mut hub, 0, &b).publications.len()), (0, 2));
    assert_eq!(hub.ledgers.bytes(), 2 * one_bytes);
}

#[test]
fn what_a_shard_missed_is_announced_to_it_by_the_next_tick() {
    let mut hub = hub();
    let channel = channel_of(&hub, HERE, 0);
    hub.handle_message(
        at(0),
        THERE,
        Message::Join { channel: channel.clone(), asked: JoinAsked::NOTHING, join: 0 },
    );
    next_message(&mut hub);
    for _ in 0..2 {
        hub.publish(at(0), channel.clone(), Payload::new(*b"hello", None), None);
        assert!(matches!(next_message(&mut hub), Message::Deliver(_)));
        hub.deliver_dropped(THERE, &channel);
    }
    assert!(!hub.is_quiet());
    hub.handle_tick(at(0));
    match next_message(&mut hub) {
        Message::Announce { channel: announced, position } => {
            assert_eq!((announced, position.offset), (channel, 2));
        }
        other => panic!("nothing was announced but {other:?}"),
    }
    assert!(hub.poll_output().is_none() && hub.is_quiet(), "it is announced once");
}

#[test]
fn every_other_shard_is_asked_and_the_first_names_are_answered() {
    let mut hub = hub();
    let mut names = [0, 1, 2, 3].map(|n| channel_of(&hub, HERE, n));
    names.iter().for_each(|name| publish(&mut hub, 0, name).map(|_| ()).unwrap());
    names.sort();
    hub.ask(
        at(0),
        TICKET,
        Question::Channels { prefix: "channel".into(), limit: 2, visible: Visible::all() },
    );
    assert!(matches!(next_message(&mut hub), Message::Ask { ticket: TICKET, .. }));
    assert!(hub.poll_output().is_none() && hub.has_lists(), "the channels are looked at bit by bit");
    assert_eq!((hub.continue_lists(3), hub.continue_lists(10)), (3, 2), "and no more than they are");
    match hub.poll_output() {
        Some(Output::Survey { ticket: TICKET, survey: Survey::Channels(reports) }) => {
            let answered: Vec<_> = reports.iter().map(|report| &report.channel).collect();
            assert_eq!(answered, [&names[0], &names[1]]);
            assert!(reports.iter().all(|report| report.history_publications == 1));
        }
        other => panic!("no answer but {other:?}"),
    }
    assert!(hub.poll_output().is_none() && !hub.has_lists());
}

#[test]
fn a_list_that_nobody_waits_for_any_more_is_made_no_further_here_or_elsewhere() {
    let mut hub = hub();
    let question = || Question::Channels { prefix: "channel".into(), limit: 2, visible: Visible::all() };
    hub.ask(at(0), TICKET, question());
    hub.handle_message(at(0), THERE, Message::Ask { ticket: TICKET, question: question() });
    hub.withdraw(TICKET);
    assert!(hub.has_lists(), "another shard's ticket is another one");
    hub.handle_message(at(0), THERE, Message::Withdraw { ticket: TICKET });
    assert!(!hub.has_lists());
    assert!(matches!(next_message(&mut hub), Message::Ask { .. }));
    assert!(matches!(next_message(&mut hub), Message::Withdraw { ticket: TICKET }));
}

#[test]
fn how_a_shard_is_is_left_for_the_shard_to_say() {
    let mut hub = hub();
    hub.ask(at(0), TICKET, Question::Shard);
    assert!(matches!(next_message(&mut hub), Message::Ask { question: Question::Shard, .. }));
    assert!(matches!(hub.poll_output(), Some(Output::AskedShard { from: HERE, .. })));
    hub.handle_message(at(0), THERE, Message::Ask { ticket: TICKET, question: Question::Shard });
    assert!(matches!(hub.poll_output(), Some(Output::AskedShard { from: THERE, ticket: TICKET })));
}

#[test]
fn what_arrives_for_a_channel_nobody_here_has_is_ignored() {
    let (mut owner, mut hub) = (hub_with(|settings| settings.shard = THERE), hub());
    let channel = channel_of(&hub, THERE, 0);
    owner.handle_message(
        at(0),
        HERE,
        Message::Join { channel: channel.clone(), asked: JoinAsked::NOTHING, join: 0 },
    );
    owner.publish(at(0), channel.clone(), Payload::new(*b"hello", None), None);
    while let Some(output) = owner.poll_output() {
        if let Output::Send { message: message @ Message::Deliver(_), .. } = output {
            hub.handle_message(at(0), THERE, message);
        }
    }
    assert!(hub.poll_output().is_none() && hub.poll_fanout(FanoutLimit::NONE).is_none() && hub.is_quiet());
    let unknown = channel_of(&hub, HERE, 0);
    hub.handle_message(at(0), THERE, Message::Leave { channel: unknown });
    assert_eq!(hub.channels.iter().count(), 0);
}

#[test]
fn a_latecomer_left_behind_by_the_seated_one_can_still_leave() {
    let mut hub = hub();
    let channel = channel_of(&hub, THERE, 0);
    let join_at = |hub: &mut Hub, index: u32, offset: u64| {
        let since = Some(Since::part(Position { epoch: 5, offset: 0 }));
        hub.subscribe(at(0), connection(index), Transport::Json, channel.clone(), since, None).unwrap();
        let Message::Join { join, .. } = next_message(hub) else { panic!("a join comes first") };
        let welcome = Welcome::to(Position { epoch: 5, offset });
        let result = Ok(Welcome { recovered: false, ..welcome });
        hub.handle_message(at(0), THERE, Message::Joined { join, result });
        hub.poll_output();
    };
    let epoch = 5;
    join_at(&mut hub, 1, 1);
    let (position, payload) = (Position { epoch, offset: 2 }, Payload::new(*b"hello", None));
    let publication = Publication { channel: channel.clone(), position, unix_ms: 0, payload };
    hub.handle_message(at(0), THERE, Message::Deliver(publication.into()));
    join_at(&mut hub, 2, 2);
    // The publications at 3 and 4 were lost. Who joins at 4 is ahead of the others and stays apart when they meet.
    join_at(&mut hub, 3, 4);
    while hub.poll_fanout(FanoutLimit::NONE).is_some() {}
    for index in [3, 2, 1] {
        assert!(hub.poll_output().is_none());
        hub.leave_all(connection(index));
    }
    assert!(matches!(next_message(&mut hub), Message::Leave { .. }));
    assert_eq!(hub.channels.iter().count(), 0);
}

#[test]
fn a_channel_with_few_subscribers_does_not_wait_for_one_with_many() {
    let mut hub = hub();
    let (many, few) = (channel_of(&hub, HERE, 0), channel_of(&hub, HERE, 1));
    (0..10).for_each(|index| subscribe(&mut hub, index, &many).unwrap());
    subscribe(&mut hub, 10, &few).unwrap();
    while hub.poll_output().is_some() {}
    publish(&mut hub, 0, &many).unwrap();
    publish(&mut hub, 0, &few).unwrap();
    let gathered = hub.gathered_bytes();
    assert!(gathered > 2 * "hello".len());
    let limit = FanoutLimit { subscribers: 4, ..FanoutLimit::NONE };
    let mut served = Vec::new();
    while let Some(fanout) = hub.poll_fanout(limit) {
        served.push((fanout.channel == &few, fanout.subscribers.concat().len()));
    }
    assert_eq!(served, [(false, 4), (true, 1), (false, 4), (false, 2)]);
    assert_eq!(hub.gathered_bytes(), 0);
}

/// Publishes so many bytes at once.
fn publish_bytes(hub: &mut Hub, channel: &ChannelName, bytes: usize) -> Result<Position, PublishError> {
    hub.publish(at(0), channel.clone(), Payload::new(vec![b'x'; bytes], None), Some(TICKET));
    match hub.poll_output() {
        Some(Output::Published { result, .. }) => result,
        other => panic!("no answer but {other:?}"),
    }
}

const LARGE: usize = FANOUT_PORTION_BYTES + 1;

#[test]
fn what_is_small_does_not_wait_for_what_is_large_and_what_is_large_is_given_to_a_few_at_a_time() {
    let mut hub = hub();
    let [large, small, other] = [0, 1, 2].map(|number| channel_of(&hub, HERE, number));
    (0..6).for_each(|index| subscribe(&mut hub, index, &large).unwrap());
    subscribe(&mut hub, 6, &small).unwrap();
    subscribe(&mut hub, 7, &other).unwrap();
    while hub.poll_output().is_some() {}
    publish_bytes(&mut hub, &large, LARGE).unwrap();
    publish_bytes(&mut hub, &large, 5).unwrap();
    publish_bytes(&mut hub, &small, 5).unwrap();
    assert!(hub.may_overtake(&small), "what comes behind may be handed out before");
    let poll = |hub: &mut Hub, limit: FanoutLimit| {
        let fanout = hub.poll_fanout(limit)?;
        Some((fanout.is_large, fanout.subscribers.concat()))
    };
    let limit = FanoutLimit { large_bytes: 2 * LARGE, ..FanoutLimit::NONE };
    assert_eq!(poll(&mut hub, limit), Some((true, vec![0, 1])));
    let none_large = FanoutLimit { large_bytes: 0, ..FanoutLimit::NONE };
    assert_eq!(poll(&mut hub, none_large), Some((false, vec![6])));
    assert_eq!(poll(&mut hub, none_large), None, "what comes behind on its own channel waits");
    publish_bytes(&mut hub, &other, 5).unwrap();
    assert_eq!(
        poll(&mut hub, FanoutLimit { large_bytes: 1, ..limit }),
        Some((true, vec![2])),
        "one at least"
    );
    // Nothing small passes what is small.
    assert_eq!(poll(&mut hub, FanoutLimit { small_bytes: 0, ..none_large }), None);
    assert_eq!(poll(&mut hub, none_large), Some((false, vec![7])));
    assert_eq!(poll(&mut hub, limit), Some((true, vec![3, 4])));
    assert_eq!(poll(&mut hub, limit), Some((true, vec![5])));
    assert_eq!(poll(&mut hub, none_large), Some((false, vec![0, 1, 2, 3, 4, 5])));
    assert_eq!((poll(&mut hub, limit), hub.gathered_bytes()), (None, 0));
}

#[test]
fn a_channel_that_is_published_to_without_end_keeps_nobody_waiting_and_keeps_only_what_waits() {
    let mut hub = hub();
    let (busy, quiet) = (channel_of(&hub, HERE, 0), channel_of(&hub, HERE, 1));
    (0..3).for_each(|index| subscribe(&mut hub, index, &busy).unwrap());
    subscribe(&mut hub, 3, &quiet).unwrap();
    while hub.poll_output().is_some() {}
    let limit = FanoutLimit { subscribers: 2, ..FanoutLimit::NONE };
    // Whenever two have got something there is more.
    let (mut given, mut late) = ([0; 8], 4);
    let mut is_told = false;
    for round in 0..200 {
        publish_bytes(&mut hub, &busy, FANOUT_PORTION_BYTES).unwrap();
        publish_bytes(&mut hub, &busy, FANOUT_PORTION_BYTES).unwrap();
        if round == 100 {
            subscribe(&mut hub, late, &busy).unwrap();
            while hub.poll_output().is_some() {}
            publish_bytes(&mut hub, &quiet, 5).unwrap();
            late += 1;
        }
        for _ in 0..4 {
            let Some(fanout) = hub.poll_fanout(limit) else { break };
            is_told |= fanout.channel == &quiet;
            for index in fanout.subscribers.concat() {
                given[index as usize] += fanout.publications.len();
            }
        }
        assert!(hub.gathered_bytes() < 40 * FANOUT_PORTION_BYTES, "{round}: {}", hub.gathered_bytes());
    }
    assert!(is_told, "the other channel has had its turn");
    assert!(given[4] > 100, "who came late has its seat: {given:?}");
}

#[test]
fn a_channel_hands_out_one_portion_in_a_turn_and_what_has_been_handed_out_is_gone() {
    let mut hub = hub();
    let (busy, quiet) = (channel_of(&hub, HERE, 0), channel_of(&hub, HERE, 1));
    (0..2).for_each(|index| subscribe(&mut hub, index, [&busy, &quiet][index as usize]).unwrap());
    while hub.poll_output().is_some() {}
    const PORTIONS: usize = 8;
    (0..2 * PORTIONS).for_each(|_| _ = publish_bytes(&mut hub, &busy, FANOUT_PORTION_BYTES / 2).unwrap());
    publish_bytes(&mut hub, &quiet, 5).unwrap();
    let paced = FanoutLimit { is_paced: true, ..FanoutLimit::NONE };
    let mut left = hub.gathered_bytes();
    for turn in 0..PORTIONS {
        hub.begin_fanout();
        let fanout = hub.poll_fanout(paced).expect("a portion");
        assert_eq!((fanout.channel, fanout.publications.len()), (&busy, 2));
        if turn == 0 {
            assert_eq!(hub.poll_fanout(paced).expect("the other's turn").channel, &quiet);
        }
        assert!(hub.poll_fanout(paced).is_none());
        if turn + 1 < PORTIONS {
            assert!(hub.may_overtake(&quiet), "it has been served, and more waits");
            assert!(hub.gathered_bytes() <= left);
            left = hub.gathered_bytes();
        }
        assert!(left <= (PORTIONS - turn) * 2 * FANOUT_PORTION_BYTES * 9 / 16, "{turn}: {left}");
    }
    assert_eq!((hub.gathered_bytes(), hub.has_handed_out_all()), (0, true));
}

#[test]
fn beyond_what_may_wait_to_be_handed_out_publications_are_refused_where_somebody_waits_for_them() {
    let mut hub = hub();
    let (followed, alone) = (channel_of(&hub, HERE, 0), channel_of(&hub, HERE, 1));
    subscribe(&mut hub, 0, &followed).unwrap();
    while hub.poll_output().is_some() {}
    const BYTES: usize = 1 << 20;
    let mut accepted = 0;
    while publish_bytes(&mut hub, &followed, BYTES).is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, FANOUT_GATHERED_BYTES_MAX / BYTES);
    assert_eq!(publish_bytes(&mut hub, &followed, 1), Err(PublishError::Busy));
    publish_bytes(&mut hub, &alone, 1).unwrap();
    while hub.poll_fanout(FanoutLimit::NONE).is_some() {}
    publish_bytes(&mut hub, &followed, 1).unwrap();
}

/// Takes a welcome of a channel of this shard's own: the offsets told, where the subscriber is then, and how many follow.
fn welcomed(hub: &mut Hub) -> (Vec<u64>, u64, u32) {
    match hub.poll_output() {
        Some(Output::Joined { welcome, .. }) => {
            let offsets = welcome.missed.iter().map(|publication| publication.position.offset).collect();
            (offsets, welcome.position.offset, welcome.rest)
        }
        other => panic!("no welcome but {other:?}"),
    }
}

#[test]
fn a_subscriber_catches_up_part_by_part_and_hears_what_is_published_only_then() {
    let mut hub = hub_with(|settings| settings.history_publications_max = 10);
    let channel = channel_of(&hub, HERE, 0);
    let epoch = publish(&mut hub, 0, &channel).unwrap().epoch;
    for _ in 0..4 {
        publish(&mut hub, 0, &channel).unwrap();
    }
    let one = history::bytes_of(&page(&mut hub, 0, &channel).publications[0]);
    let since = |offset, bytes_max| Since { position: Position { epoch, offset }, bytes_max };
    let who = connection(1);
    let first = Some(since(1, 2 * one));
    hub.subscribe(at(0), who, Transport::Json, channel.clone(), first, Some(7)).unwrap();
    assert_eq!(welcomed(&mut hub), (vec![2, 3], 3, 2));
    publish(&mut hub, 0, &channel).unwrap();
    assert!(hub.poll_fanout(FanoutLimit::NONE).is_none(), "it has 4 and 5 still to come");
    assert!(hub.is_quiet(), "nobody is asked while it reads");
    hub.catch_up(at(0), who, &channel, since(3, 1));
    assert_eq!(welcomed(&mut hub), (vec![4], 4, 2), "one larger than wanted is a part by itself");
    hub.catch_up(at(0), who, &channel, since(4, 2 * one));
    assert_eq!(welcomed(&mut hub), (vec![5, 6], 6, 0));
    publish(&mut hub, 0, &channel).unwrap();
    let fanout = hub.poll_fanout(FanoutLimit::NONE).expect("now it hears");
    assert_eq!((fanout.publications[0].position.offset, fanout.gap), (7, false));
    while hub.poll_fanout(FanoutLimit::NONE).is_some() {}
    hub.catch_up(at(0), who, &channel, since(4, one));
    assert!(hub.poll_output().is_none(), "it has caught up already");
}

#[test]
fn a_subscriber_that_catches_up_may_leave_and_is_told_when_what_it_missed_has_gone() {
    let mut hub = hub_with(|settings| settings.history_publications_max = 3);
    let channel = channel_of(&hub, HERE, 0);
    let epoch = publish(&mut hub, 0, &channel).unwrap().epoch;
    for _ in 0..2 {
        publish(&mut hub, 0, &channel).unwrap();
    }
    let since = |offset, bytes_max| Since { position: Position { epoch, offset }, bytes_max };
    for index in [1, 2] {
        let nothing_yet = Some(since(0, 0));
        hub.subscribe(at(0), connection(index), Transport::Json, channel.clone(), nothing_yet, Some(1))
            .unwrap();
        assert_eq!(welcomed(&mut hub), (vec![], 0, 3));
    }
    assert!(hub.unsubscribe(connection(1), &channel));
    assert!(hub.poll_output().is_none(), "it was told that it is subscribed");
    hub.catch_up(at(0), connection(1), &channel, since(0, 9));
    assert!(hub.poll_output().is_none(), "it has left");
    for _ in 0..2 {
        publish(&mut hub, 0, &channel).unwrap();
    }
    hub.catch_up(at(0), connection(2), &channel, since(0, 1 << 20));
    match hub.poll_output() {
        Some(Output::Joined { welcome, token: None, is_further: true, .. }) => {
            assert_eq!((welcome.recovered, welcome.missed.len(), welcome.rest), (false, 3, 0));
        }
        other => panic!("no welcome but {other:?}"),
    }
    hub.leave_all(connection(2));
    hub.handle_tick(at(10 * AGE_MS));
    assert_eq!(hub.channels.iter().count(), 0);
}
