//! What no client library sends: raw bytes, and the connection's fate.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::broker::Broker;

/// What comes back for `body` on a connection of its own: an answer without its length, or `None` when it is closed.
fn ask(broker: &Broker, body: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(&broker.bootstrap).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
        .write_all(&u32::try_from(body.len()).unwrap().to_be_bytes())
        .unwrap();
    stream.write_all(body).unwrap();
    let mut prefix = [0; 4];
    match stream.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
        {
            return None;
        }
        Err(error) => panic!("neither an answer nor an end: {error}"),
    }
    let mut answer = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut answer).unwrap();
    Some(answer)
}

/// Header version 1 with correlation id 7 and client id "x", then `rest`.
fn request(api_key: i16, version: i16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = [api_key.to_be_bytes(), version.to_be_bytes()].concat();
    bytes.extend_from_slice(&[0, 0, 0, 7, 0, 1, b'x']);
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn what_is_not_served_closes_the_connection_and_harms_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), &[]);
    let cases = [
        request(999, 0, &[]),
        request(3, 99, &[]),
        request(0, 2, &[0xff, 0xff, 0, 1]),
        request(1, 3, &[]),
        request(4, 0, &[]),
        // Metadata 1 that claims 2^31 - 1 topics.
        request(3, 1, &[0x7f, 0xff, 0xff, 0xff]),
        vec![0],
        vec![],
    ];
    for case in cases {
        assert_eq!(ask(&broker, &case), None, "{case:?}");
    }
    let served = ask(&broker, &request(18, 0, &[])).unwrap();
    assert_eq!(served[..6], [0, 0, 0, 7, 0, 0]);
}

#[test]
fn a_version_of_api_versions_from_the_future_is_answered_in_version_0() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), &[]);
    let expected = [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
    for version in [5, 99, i16::MAX] {
        assert_eq!(
            ask(&broker, &request(18, version, &[0, 1])).unwrap(),
            expected
        );
    }
}

#[test]
fn a_frame_of_a_hostile_length_closes_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), &[]);
    for length in [-1, i32::MIN, i32::MAX] {
        let mut stream = TcpStream::connect(&broker.bootstrap).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "{length}");
    }
}
