use millrace_wire::message::fetch::{FetchForgottenTopic, FetchRequestTopic};

use super::*;

const MINUTE: u64 = 60_000_000;

fn request(session_id: i32, session_epoch: i32, partitions: &[i32]) -> FetchRequest {
    let partition = |&partition| FetchRequestPartition {
        partition,
        ..Default::default()
    };
    let topic = FetchRequestTopic {
        topic: "orders".into(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    let topics = if partitions.is_empty() {
        Vec::new()
    } else {
        vec![topic]
    };
    FetchRequest {
        session_id,
        session_epoch,
        topics,
        ..Default::default()
    }
}

fn answer(high_watermark: i64, records: bool) -> FetchResponsePartition {
    use millrace_wire::message::fetch::Records;
    FetchResponsePartition {
        high_watermark,
        records: records.then_some(Records::Elsewhere { length: 10 }),
        ..Default::default()
    }
}

fn enter(
    sessions: &mut FetchSessions,
    request: &FetchRequest,
    version: i16,
    now: Monotonic,
) -> Result<Scope, ErrorCode> {
    sessions.enter(
        request,
        wishes(request.topics.clone(), version),
        version,
        now,
    )
}

fn open(sessions: &mut FetchSessions, partitions: &[i32], minutes: u64) -> i32 {
    let now = Monotonic(minutes * MINUTE);
    let scope = enter(sessions, &request(0, 0, partitions), 12, now);
    let Ok(Scope::First(wishes)) = scope else {
        panic!("a full request opens a session")
    };
    let response = answer(5, false);
    let answered: Vec<_> = wishes.into_iter().map(|wish| (wish, &response)).collect();
    sessions.create(answered.into_iter(), false, now, u128::from(1000 * minutes))
}

type Next = Rc<RefCell<Session>>;

fn next(sessions: &mut FetchSessions, request: &FetchRequest) -> Result<Next, ErrorCode> {
    match enter(sessions, request, 12, Monotonic(0))? {
        Scope::Next { session, .. } => Ok(session),
        Scope::Once(_) | Scope::First(_) => panic!("no session"),
    }
}

/// The partitions in the order of reading.
fn numbers(session: &Next) -> Vec<i32> {
    let session = session.borrow();
    let entries = session.entries.values();
    entries.map(|entry| entry.wish.read.partition).collect()
}

#[test]
fn a_client_that_forgets_more_than_it_has_loses_its_session() {
    let mut sessions = FetchSessions::new(10, 0, 1);
    let id = open(&mut sessions, &[1, 2], 0);
    let mut forget = request(id, 1, &[]);
    forget.forgotten_topics_data = vec![FetchForgottenTopic {
        topic: "orders".into(),
        partitions: vec![1, 2],
        ..Default::default()
    }];
    forget.forgotten_topics_data[0].partitions.push(7);
    let lost = next(&mut sessions, &forget);
    assert_eq!(lost.err(), Some(ErrorCode::FetchSessionIdNotFound));
    let again = next(&mut sessions, &request(id, 1, &[]));
    assert_eq!(again.err(), Some(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn a_session_remembers_partitions_until_they_are_forgotten() {
    let mut sessions = FetchSessions::new(10, 0, 1);
    let id = open(&mut sessions, &[0, 1, 2], 0);
    assert_ne!(id, NO_SESSION);
    let session = next(&mut sessions, &request(id, 1, &[])).unwrap();
    assert_eq!(numbers(&session), [0, 1, 2]);
    let mut changes = request(id, 2, &[7]);
    let topic = "orders".into();
    changes.forgotten_topics_data = vec![FetchForgottenTopic {
        topic,
        partitions: vec![1],
        ..Default::default()
    }];
    let session = next(&mut sessions, &changes).unwrap();
    assert_eq!(numbers(&session), [0, 2, 7]);
}

#[test]
fn only_news_is_answered_and_whoever_got_records_goes_to_the_end() {
    let mut sessions = FetchSessions::new(10, 0, 1);
    let id = open(&mut sessions, &[0, 1, 2], 0);
    let session = next(&mut sessions, &request(id, 1, &[])).unwrap();
    let mut state = session.borrow_mut();
    assert!(!state.note(0, &answer(5, false)), "nothing changed");
    assert!(state.note(1, &answer(5, true)), "records");
    assert!(state.note(2, &answer(6, false)), "the high watermark moved");
    let failed = FetchResponsePartition {
        error_code: ErrorCode::KafkaStorageError,
        ..answer(6, false)
    };
    assert!(state.note(0, &failed));
    assert!(
        state.note(0, &answer(6, false)),
        "told again once the error is gone"
    );
    drop(state);
    let session = next(&mut sessions, &request(id, 2, &[])).unwrap();
    assert_eq!(numbers(&session), [0, 2, 1]);
}

#[test]
fn a_wrong_epoch_or_an_unknown_id_is_refused_and_the_session_survives() {
    let mut sessions = FetchSessions::new(10, 0, 1);
    let id = open(&mut sessions, &[0], 0);
    let refused = |sessions: &mut _, request| next(sessions, &request).err();
    let wrong_epoch = Some(ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(refused(&mut sessions, request(id, 9, &[])), wrong_epoch);
    let unknown = Some(ErrorCode::FetchSessionIdNotFound);
    assert_eq!(refused(&mut sessions, request(id + 1, 1, &[])), unknown);
    assert!(next(&mut sessions, &request(id, 1, &[])).is_ok());
    let by_id = enter(&mut sessions, &request(id, 2, &[]), 13, Monotonic(0)).err();
    assert_eq!(by_id, Some(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn the_last_epoch_and_a_new_full_request_both_end_a_session() {
    for ending in [-1, 0] {
        let mut sessions = FetchSessions::new(10, 0, 1);
        let id = open(&mut sessions, &[0], 0);
        enter(&mut sessions, &request(id, ending, &[0]), 12, Monotonic(0))
            .map(drop)
            .unwrap();
        let refused = next(&mut sessions, &request(id, 1, &[])).err();
        assert_eq!(refused, Some(ErrorCode::FetchSessionIdNotFound));
    }
}

#[test]
fn an_id_tells_its_thread() {
    for thread in 0..3 {
        let mut sessions = FetchSessions::new(10, thread, 3);
        for _ in 0..3 {
            let id = open(&mut sessions, &[0], 0);
            assert!(id > 0);
            assert_eq!(usize::try_from(id).unwrap() % 3, thread);
        }
    }
}

#[test]
fn a_full_cache_lets_go_of_the_stale_first_and_then_of_the_small_and_old() {
    let mut sessions = FetchSessions::new(2, 0, 1);
    let large = open(&mut sessions, &[0, 1, 2], 0);
    let small = open(&mut sessions, &[0], 0);
    assert_eq!(
        open(&mut sessions, &[0, 1], 1),
        NO_SESSION,
        "both are protected"
    );
    let use_at = |sessions: &mut FetchSessions, id, epoch, minutes| {
        let now = Monotonic(minutes * MINUTE);
        enter(sessions, &request(id, epoch, &[]), 12, now).map(drop)
    };
    use_at(&mut sessions, large, 1, 3).unwrap();
    use_at(&mut sessions, small, 1, 3).unwrap();
    assert_eq!(
        open(&mut sessions, &[0], 4),
        NO_SESSION,
        "worth no more than the smallest"
    );
    assert_ne!(open(&mut sessions, &[0, 1], 4), NO_SESSION);
    assert_eq!(
        use_at(&mut sessions, small, 2, 4),
        Err(ErrorCode::FetchSessionIdNotFound)
    );
    use_at(&mut sessions, large, 2, 4).unwrap();
    assert_ne!(open(&mut sessions, &[0], 9), NO_SESSION, "all are stale");
}

#[test]
fn all_sessions_together_grow_to_so_many_partitions_and_no_further() {
    let mut sessions = FetchSessions::new(10, 0, 1);
    let partitions: Vec<i32> = (0..150_000).collect();
    let large = open(&mut sessions, &partitions, 0);
    let small = open(&mut sessions, &[0], 0);
    let gone = Some(ErrorCode::FetchSessionIdNotFound);
    let grows = |sessions: &mut _, id, epoch, count: usize| {
        next(sessions, &request(id, epoch, &partitions[..count])).err()
    };
    assert_eq!(grows(&mut sessions, small, 1, 50_001), gone);
    assert_eq!(grows(&mut sessions, small, 2, 0), gone, "it has ended");
    let small = open(&mut sessions, &[0], 0);
    assert_eq!(grows(&mut sessions, small, 1, 50_000), None);
    assert_eq!(open(&mut sessions, &[0], 0), NO_SESSION);
    let moved = sessions.take(large).unwrap();
    assert_eq!(grows(&mut sessions, small, 2, 100_000), None);
    sessions.adopt(moved, Monotonic(0));
    assert_eq!(grows(&mut sessions, large, 1, 0), gone, "no room for it");
    sessions.end(small);
    assert_ne!(open(&mut sessions, &partitions, 0), NO_SESSION);
}

#[test]
fn a_session_that_has_ended_takes_room_until_nobody_is_at_work_with_it() {
    let mut sessions = FetchSessions::new(10, 0, 1);
    let partitions: Vec<i32> = (0..150_000).collect();
    let id = open(&mut sessions, &partitions, 0);
    let at_work = next(&mut sessions, &request(id, 1, &[])).unwrap();
    sessions.end(id);
    assert_eq!(open(&mut sessions, &partitions, 0), NO_SESSION);
    drop(at_work);
    assert_ne!(open(&mut sessions, &partitions, 0), NO_SESSION);
}

#[test]
fn of_wishes_for_one_partition_the_last_counts_in_the_place_of_the_first() {
    let topic = |name: &str, reads: &[(i32, i64)]| FetchRequestTopic {
        topic: name.into(),
        partitions: reads
            .iter()
            .map(|&(partition, fetch_offset)| FetchRequestPartition {
                partition,
                fetch_offset,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let named = vec![
        topic("a", &[(1, 1), (0, 2), (1, 3)]),
        topic("b", &[(1, 4)]),
        // The same topic again, behind another.
        topic("a", &[(0, 5), (2, 6)]),
    ];
    let left = last_of_each(wishes(named, 12));
    let left = left.iter().map(|wish| {
        let TopicKey::Name(name) = &wish.topic else {
            panic!("{:?}", wish.topic)
        };
        (&**name, wish.read.partition, wish.read.fetch_offset)
    });
    let expected = [("a", 1, 3), ("a", 0, 5), ("b", 1, 4), ("a", 2, 6)];
    assert_eq!(left.collect::<Vec<_>>(), expected);
}

#[test]
fn the_epoch_after_the_greatest_is_one() {
    assert_eq!(epoch_after(0), 1);
    assert_eq!(epoch_after(i32::MAX), 1);
    assert_eq!(epoch_after(-1), -1);
}
