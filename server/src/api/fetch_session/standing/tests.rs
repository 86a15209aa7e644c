use millrace_engine::types::{LeaderEpoch, Offset, TopicId, Uuid};

use super::*;

fn read(number: i32) -> FetchPartition {
    FetchPartition {
        partition: TopicIdPartition {
            topic_id: TopicId(Uuid(1)),
            partition: number,
        },
        offset: Offset(0),
        bytes_max: 100,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        isolation: Isolation::ReadUncommitted,
    }
}

/// Shard, whether it begins, what it is to forget and to read, by place.
fn asks(standing: &mut Standing) -> Vec<(usize, bool, Vec<u64>, Vec<u64>)> {
    let mut names = 40;
    let asks = standing.asks(|| {
        names += 1;
        StandingId(names)
    });
    let ask = |ask: Ask| {
        let put = ask.put.into_iter().map(|(place, _)| place);
        (ask.shard.0, ask.begins, ask.remove, put.collect())
    };
    asks.into_iter().map(ask).collect()
}

#[test]
fn a_shard_is_told_once_and_then_only_what_changes() {
    let mut standing = Standing::new(Isolation::ReadUncommitted);
    standing.put(0, Ok((ShardIndex(0), read(0))));
    standing.put(1, Ok((ShardIndex(1), read(1))));
    standing.put(2, Ok((ShardIndex(0), read(2))));
    let first = [(0, true, vec![], vec![0, 2]), (1, true, vec![], vec![1])];
    assert_eq!(asks(&mut standing), first);
    let nothing = [(0, false, vec![], vec![]), (1, false, vec![], vec![])];
    assert_eq!(asks(&mut standing), nothing);
    standing.remove(0);
    standing.put(5, Ok((ShardIndex(0), read(0))));
    let moved = [(0, false, vec![0], vec![5]), (1, false, vec![], vec![])];
    assert_eq!(asks(&mut standing), moved);
}

#[test]
fn a_place_that_leads_elsewhere_is_removed_where_it_was() {
    let mut standing = Standing::new(Isolation::ReadUncommitted);
    standing.put(0, Ok((ShardIndex(0), read(0))));
    standing.put(1, Ok((ShardIndex(0), read(1))));
    let _ = asks(&mut standing);
    standing.put(0, Ok((ShardIndex(1), read(7))));
    let moved = [(0, false, vec![0], vec![]), (1, true, vec![], vec![0])];
    assert_eq!(asks(&mut standing), moved);
    assert!(standing.stands(0, read(7).partition));
    standing.put(0, Err(ErrorCode::UnknownTopicId));
    assert_eq!(
        standing.refused().collect::<Vec<_>>(),
        [(0, ErrorCode::UnknownTopicId)]
    );
    let rest = [(0, false, vec![], vec![])];
    assert_eq!(
        asks(&mut standing),
        rest,
        "a shard without places is not asked"
    );
    standing.put(0, Ok((ShardIndex(1), read(7))));
    let back = [(0, false, vec![], vec![]), (1, false, vec![0], vec![0])];
    assert_eq!(asks(&mut standing), back, "it still has to forget");
    assert_eq!(standing.into_ids().count(), 2);
}

#[test]
fn metadata_of_another_version_has_to_be_looked_at() {
    let mut standing = Standing::new(Isolation::ReadCommitted);
    assert!(standing.follow(3));
    assert!(!standing.follow(3));
    assert!(standing.follow(4));
    assert_eq!(standing.isolation(), Isolation::ReadCommitted);
}
