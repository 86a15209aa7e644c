use millrace_engine::metadata::{ConfigResource, MetadataRecord};
use millrace_engine::types::{LeaderEpoch, Monotonic, Offset, TopicId, Uuid};
use millrace_wire::message::fetch::{
    FetchRequestPartition, FetchRequestTopic, FetchResponsePartition,
};

use super::super::{FetchSessions, Session, Wish, wishes};
use super::*;
use crate::api::test_image::image_with;

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

/// A session of all three partitions of a topic.
fn session() -> Session {
    let partition = |partition| FetchRequestPartition {
        partition,
        ..Default::default()
    };
    let topic = FetchRequestTopic {
        topic: "orders".into(),
        partitions: (0..3).map(partition).collect(),
        ..Default::default()
    };
    let response = FetchResponsePartition::default();
    let answered = wishes(vec![topic], 12).into_iter();
    let answered: Vec<_> = answered.map(|wish| (wish, &response)).collect();
    let mut sessions = FetchSessions::new(1, 0, 1);
    let id = sessions.create(answered.into_iter(), false, Monotonic(0), 0);
    sessions.take(id).unwrap()
}

/// The partitions that are looked up in `image` before the shards are asked.
fn looked_up(session: &mut Session, image: &MetadataImage) -> Vec<i32> {
    let mut numbers = Vec::new();
    let resolve = |wish: &mut Wish| {
        numbers.push(wish.read.partition);
        Ok((ShardIndex(0), read(wish.read.partition)))
    };
    let isolation = Isolation::ReadUncommitted;
    let standing = session.lend_standing(isolation, image, resolve, &mut Vec::new());
    assert!(session.return_standing(standing).is_none());
    numbers
}

/// With every setting of a group that changed, all partitions of every session were.
#[test]
fn partitions_are_looked_up_again_where_topics_changed_and_not_with_all_metadata() {
    let mut session = session();
    let image = image_with(&[("orders", 3)]);
    assert_eq!(looked_up(&mut session, &image), [0, 1, 2]);
    let setting = MetadataRecord::ConfigSet {
        resource: ConfigResource::Group("g".into()),
        name: "consumer.session.timeout.ms".to_owned(),
        value: "50000".to_owned(),
    };
    let image = image.apply(&[setting]).unwrap();
    session.touched.insert(1);
    assert_eq!(looked_up(&mut session, &image), [1]);
    let topic = MetadataRecord::TopicCreated {
        id: TopicId(Uuid(5)),
        name: "payments".parse().unwrap(),
    };
    let image = image.apply(&[topic]).unwrap();
    assert_eq!(looked_up(&mut session, &image), [0, 1, 2]);
    assert!(looked_up(&mut session, &image).is_empty());
}
