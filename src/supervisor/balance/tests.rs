//! Shards that are as full as they are said to be.

use super::*;

#[test]
fn shards_that_are_even_leave_new_connections_to_the_kernel() {
    let mut balance = Balance::default();
    let mut parts = |clients: [u32; 2]| {
        let load = |clients| Some(Load { clients, ..Load::default() });
        balance.check(0, &clients.map(load), false).parts
    };
    assert_eq!(parts([4_030, 3_970]), None, "as by chance");
    let sent = parts([5_000, 3_000]).expect("uneven");
    assert!(sent[0] * 6 < sent[1], "{sent:?}");
    assert!(sent[0] > 0, "there may come more than is expected");
    assert!(parts([4_300, 3_700]).is_some(), "until they are quite even");
    assert_eq!(parts([4_100, 3_900]), None);
    assert_eq!(parts([0, 60]), None, "so few are nothing");
}

#[test]
fn new_connections_that_never_come_where_they_are_sent_are_not_sent_any_more() {
    for is_heard in [true, false] {
        let mut balance = Balance::default();
        let mut loads =
            [Load { clients: 9_000, ..Load::default() }, Load { clients: 1_000, ..Load::default() }];
        let mut decision = Decision::default();
        for second in 0..10 {
            decision = balance.check(second * 1000, &loads.map(Some), false);
            let [to_fuller, to_emptier] = if is_heard { [50, 250] } else { [250, 50] };
            loads[0].accepted += to_fuller;
            loads[1].accepted += to_emptier;
        }
        assert_eq!((decision.is_in_vain, decision.parts.is_some()), (!is_heard, is_heard));
    }
}

#[test]
fn a_shard_that_has_too_much_to_do_gets_little_more_until_it_is_as_busy_as_the_others() {
    let (mut balance, mut busy_us) = (Balance::default(), [0, 0]);
    let mut pass = |busy: [u64; 2], silent: bool| {
        let mut parts = None;
        for second in 0..8 {
            (0..2).for_each(|shard| busy_us[shard] += busy[shard] * 1000);
            let load = |busy_us| Load { clients: 100, accepted: 0, busy_us };
            let second_one = (!silent).then(|| load(busy_us[1]));
            parts =
                balance.check(busy_us[0] / 1000 + second, &[Some(load(busy_us[0])), second_one], false).parts;
        }
        parts
    };
    assert_eq!(pass([1000, 900], false), None);
    let parts = pass([1000, 500], false).expect("uneven");
    assert!(parts[0] * 6 < parts[1], "{parts:?}");
    assert_eq!(pass([1000, 950], false), None, "even again");
    assert_eq!(pass([1000, 0], true), None, "one does not serve");
}
