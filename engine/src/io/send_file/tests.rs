use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::io::ring::tests::{assert_resident, beside_this_program, evict};
use crate::io::{Disk, IoBackend, Ring};

const LENGTH: usize = 3 << 20;

struct Fixture {
    ring: LocalRing,
    file: File,
    bytes: Vec<u8>,
    _dir: TempDir,
}

impl Fixture {
    fn piece(&self, position: usize, length: usize) -> Piece<'_> {
        Piece {
            file: &self.file,
            position: position as u64,
            length: length as u64,
            more: 0,
        }
    }
}

/// Runs `test` with a file of [`LENGTH`] bytes, beside an idle shard loop.
fn with_file(test: impl AsyncFn(&Fixture)) {
    let dir = beside_this_program();
    let file = Disk::real().create_new(&dir.path().join("f")).unwrap();
    let bytes: Vec<u8> = (0..LENGTH).map(|i| (i % 251) as u8).collect();
    file.write_all_at(0, &bytes).unwrap();
    file.sync_data().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ring = LocalRing::new(Ring::open(&IoBackend::probe()).unwrap()).unwrap();
        let fixture = Fixture {
            ring: ring.clone(),
            file,
            bytes,
            _dir: dir,
        };
        let idle = async {
            loop {
                ring.ready().await;
            }
        };
        tokio::select! { () = test(&fixture) => {}, () = idle => {} }
    });
}

/// Our end, and the client's.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (accepted.unwrap().0, client.unwrap())
}

async fn received(mut client: TcpStream, length: usize, at_a_time: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; at_a_time];
    while all.len() < length {
        let count = client.read(&mut piece).await.unwrap();
        assert!(count > 0, "the stream ended after {} bytes", all.len());
        all.extend_from_slice(&piece[..count]);
        tokio::task::yield_now().await;
    }
    all
}

#[test]
fn the_reader_receives_exactly_the_extent() {
    with_file(async |f| {
        let (socket, client) = pair().await;
        let (from, length) = (12_345, LENGTH - 20_000);
        let sending = send_file(&socket, &f.ring, f.piece(from, length));
        let (sent, found) = tokio::join!(sending, received(client, length, 1 << 20));
        sent.unwrap();
        assert!(found == f.bytes[12_345..12_345 + length]);
    });
}

#[test]
fn a_slow_reader_receives_all_of_it_too() {
    with_file(async |f| {
        let (socket, client) = pair().await;
        let sending = send_file(&socket, &f.ring, f.piece(0, LENGTH));
        let (sent, found) = tokio::join!(sending, received(client, LENGTH, 4000));
        sent.unwrap();
        assert!(found == f.bytes);
    });
}

#[test]
fn cold_bytes_are_brought_into_memory_and_sent() {
    with_file(async |f| {
        evict(&f.file);
        let (socket, client) = pair().await;
        let sending = send_file(&socket, &f.ring, f.piece(0, LENGTH));
        let (sent, found) = tokio::join!(sending, received(client, LENGTH, 1 << 20));
        sent.unwrap();
        assert!(found == f.bytes);
        assert_resident(&f.file, LENGTH as u64);
    });
}

#[test]
fn what_comes_next_is_brought_into_memory_along_with_a_cold_piece() {
    with_file(async |f| {
        evict(&f.file);
        let (socket, client) = pair().await;
        let piece = Piece {
            more: READ_AHEAD_BYTES,
            ..f.piece(0, 10_000)
        };
        let (sent, _) = tokio::join!(
            send_file(&socket, &f.ring, piece),
            received(client, 10_000, 1 << 20)
        );
        sent.unwrap();
        assert_resident(&f.file, READ_AHEAD_BYTES);
    });
}

#[test]
fn a_reader_that_never_reads_does_not_keep_another_waiting() {
    with_file(async |f| {
        let (stuck_socket, _stuck_client) = pair().await;
        let (socket, client) = pair().await;
        let stuck = async {
            loop {
                send_file(&stuck_socket, &f.ring, f.piece(0, LENGTH))
                    .await
                    .unwrap();
            }
        };
        let served = async {
            let sending = send_file(&socket, &f.ring, f.piece(0, LENGTH));
            let (sent, found) = tokio::join!(sending, received(client, LENGTH, 1 << 16));
            sent.unwrap();
            found
        };
        let found = tokio::select! { found = served => found, () = stuck => unreachable!() };
        assert!(found == f.bytes);
    });
}

#[test]
fn a_file_that_ends_within_the_extent_is_an_error_and_names_both_ends() {
    with_file(async |f| {
        let (socket, _client) = pair().await;
        let at = LENGTH - 10;
        let error = send_file(&socket, &f.ring, f.piece(at, 100))
            .await
            .unwrap_err();
        let expected = (LENGTH as u64, at as u64 + 100);
        assert!(
            matches!(error, SendFileError::Truncated { end, expected: wanted, .. } if (end, wanted) == expected),
            "{error}"
        );
    });
}

#[test]
fn a_client_that_went_away_is_the_sockets_failure() {
    with_file(async |f| {
        let (socket, client) = pair().await;
        drop(client);
        let error = loop {
            if let Err(error) = send_file(&socket, &f.ring, f.piece(0, LENGTH)).await {
                break error;
            }
        };
        assert!(matches!(error, SendFileError::Socket(_)), "{error}");
    });
}

#[test]
fn nothing_to_send_is_sent() {
    with_file(async |f| {
        let (socket, _client) = pair().await;
        send_file(&socket, &f.ring, f.piece(5, 0)).await.unwrap();
    });
}
