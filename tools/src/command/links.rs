//! `millrace links DIR`: links by Kafka's names, so that scripts find the tools they call.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, KAFKA_NAMES, RUN_CLASS};

/// Makes links named kafka-topics, kafka-topics.sh and so on in a directory
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// Where to; it is made if it is not there
    directory: PathBuf,
}

/// Runs the command.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::Text(format!("where am I? {error}")))?;
    let directory = &flags.directory;
    std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, &error))?;
    for name in KAFKA_NAMES.into_iter().chain([RUN_CLASS]) {
        for name in [format!("kafka-{name}"), format!("kafka-{name}.sh")] {
            let link = directory.join(name);
            make(&program, &link).map_err(|error| Failure::file(&link, &error))?;
            writeln!(out, "{} -> {}", link.display(), program.display())?;
        }
    }
    Ok(())
}

/// A link of ours is renewed; anything else that stands there is left alone and an error.
fn make(program: &Path, link: &Path) -> io::Result<()> {
    match std::fs::read_link(link) {
        Ok(target) if target == program => return Ok(()),
        Ok(target) if target.file_name() == program.file_name() => std::fs::remove_file(link)?,
        _ => {}
    }
    std::os::unix::fs::symlink(program, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_renewed_but_files_of_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("kafka-topics");
        make(Path::new("/old/millrace"), &link).unwrap();
        make(Path::new("/new/millrace"), &link).unwrap();
        assert_eq!(
            std::fs::read_link(&link).unwrap(),
            Path::new("/new/millrace")
        );
        let other = dir.path().join("kafka-configs");
        std::fs::write(&other, "mine").unwrap();
        assert_eq!(
            make(Path::new("/m"), &other).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(&other).unwrap(), b"mine");
    }
}
