//! Short pieces of files that were sent lately by this thread: consumers that follow the end of one log want the same ones, at
//! nearly the same time, and need not read them one by one.
//!
//! What was once sent of a file stays true of it: below the high watermark nothing changes.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;
use millrace_engine::io::{File, FileId, read_resident};

/// The pieces, a few of them: what is not asked for again at once is not asked for soon.
#[derive(Debug, Default)]
pub(super) struct Lately {
    pieces: RefCell<VecDeque<Piece>>,
}

#[derive(Debug)]
struct Piece {
    file: FileId,
    position: u64,
    bytes: Bytes,
}

impl Lately {
    /// The bytes of a short piece, if they are in memory.
    pub(super) fn read(&self, file: &File, position: u64, length: u64) -> Option<Bytes> {
        let mut pieces = self.pieces.borrow_mut();
        let known = pieces.iter().find(|piece| {
            piece.file == file.id()
                && piece.position == position
                && piece.bytes.len() as u64 == length
        });
        if let Some(piece) = known {
            return Some(piece.bytes.clone());
        }
        let bytes = read_resident(file, position, length)?;
        if pieces.len() == PIECES_MAX {
            pieces.pop_front();
        }
        pieces.push_back(Piece {
            file: file.id(),
            position,
            bytes: bytes.clone(),
        });
        Some(bytes)
    }
}

/// With pieces of 32 KiB at most, a quarter of a megabyte per thread.
const PIECES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use millrace_engine::io::Disk;

    use super::*;

    /// Beside this program: temporary files may be where nobody tells what is in memory. `None` if that is so here, too.
    fn file_with(bytes: &[u8]) -> Option<(tempfile::TempDir, File)> {
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let file = Disk::real().create_new(&directory.path().join("log"));
        let file = file.unwrap();
        file.write_all_at(0, bytes).unwrap();
        if read_resident(&file, 0, 1).is_none() {
            let path = file.path().display();
            eprintln!("SKIPPED: the file system does not tell what of {path} is in memory");
            return None;
        }
        Some((directory, file))
    }

    #[test]
    fn a_piece_that_was_read_lately_is_the_same_bytes_and_others_are_read_anew() {
        let files = file_with(b"0123456789").zip(file_with(b"abcdefghij"));
        let Some(((_one, file), (_two, other))) = files else {
            return;
        };
        let lately = Lately::default();
        let first = lately.read(&file, 2, 3).unwrap();
        assert_eq!(first, "234");
        let again = lately.read(&file.clone(), 2, 3).unwrap();
        assert_eq!(again.as_ptr(), first.as_ptr(), "it was not read again");
        assert_eq!(lately.read(&file, 2, 4).unwrap(), "2345");
        assert_eq!(lately.read(&file, 3, 3).unwrap(), "345");
        assert_eq!(lately.read(&other, 2, 3).unwrap(), "cde");
    }

    #[test]
    fn only_the_last_few_pieces_are_kept() {
        let Some((_directory, file)) = file_with(&[7; 100]) else {
            return;
        };
        let lately = Lately::default();
        let first = lately.read(&file, 0, 1).unwrap();
        for position in 1..=PIECES_MAX as u64 {
            lately.read(&file, position, 1).unwrap();
        }
        assert_eq!(lately.pieces.borrow().len(), PIECES_MAX);
        let again = lately.read(&file, 0, 1).unwrap();
        assert_ne!(again.as_ptr(), first.as_ptr());
    }
}
