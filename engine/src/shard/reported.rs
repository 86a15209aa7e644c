//! Files of logs that could not be read, and were said to be so. Whoever reads there comes again and again, and one line is
//! enough.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Those that were reported since their partition was opened.
#[derive(Debug, Default)]
pub(super) struct Reported(BTreeSet<PathBuf>);

impl Reported {
    /// Whether a file has to be reported; it has been from now on. Where very many have been it begins anew.
    pub(super) fn is_news(&mut self, path: &Path) -> bool {
        if self.0.contains(path) {
            return false;
        }
        if self.0.len() >= REPORTED_MAX {
            self.0.clear();
        }
        self.0.insert(path.to_owned())
    }

    /// A partition leaves its directory, perhaps to another of its name.
    pub(super) fn forget(&mut self, directory: &Path) {
        self.0.retain(|path| !path.starts_with(directory));
    }
}

/// How many files are remembered: few are ever damaged, unless a disk is.
const REPORTED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_news_once_for_as_long_as_its_partition_stays() {
        let mut reported = Reported::default();
        let (one, other) = (Path::new("/data/t-1/0.log"), Path::new("/data/t-10/0.log"));
        assert!(reported.is_news(one) && reported.is_news(other));
        assert!(!reported.is_news(one) && !reported.is_news(other));
        reported.forget(Path::new("/data/t-1"));
        assert!(reported.is_news(one) && !reported.is_news(other));
    }

    #[test]
    fn no_more_files_are_remembered_than_there_is_room_for() {
        let mut reported = Reported::default();
        let path = |number: usize| PathBuf::from(format!("/data/t-0/{number}.log"));
        assert!((0..=REPORTED_MAX).all(|number| reported.is_news(&path(number))));
        assert_eq!(reported.0.len(), 1);
    }
}
