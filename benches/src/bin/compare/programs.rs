//! The programs that are compared, built or fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_benches::load::Program;
use millrace_benches::{Outcome, repository, run, said};

/// What this tree gives.
pub(crate) struct Built {
    pub(crate) millrace: Program,
    /// With a file per partition, and with one for all.
    pub(crate) floors: [Program; 2],
}

/// Builds this tree, or takes `server` as it is. The floor lies beside this program.
pub(crate) fn build_here(server: Option<&Path>) -> Outcome<Built> {
    let beside = std::env::current_exe()?;
    let beside = beside.parent().ok_or("a program without a directory")?;
    let target = beside.parent().ok_or("a program outside of target")?;
    let mut build = Command::new("cargo");
    build.args([
        "build",
        "--release",
        "-p",
        "millrace-benches",
        "--bin",
        "floor",
    ]);
    if server.is_none() {
        build.args(["-p", "millrace-server", "--bin", "millrace-server"]);
    }
    run(build
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", target))?;
    let release = target.join("release");
    let server = server.map_or_else(|| release.join("millrace-server"), Path::to_owned);
    Ok(Built {
        millrace: millrace(server),
        floors: [false, true].map(|one_file| Program::Floor {
            server: release.join("floor"),
            one_file,
        }),
    })
}

/// Builds the broker of another revision, in a work tree that is removed again. Binaries are kept by commit.
pub(crate) fn build_revision(revision: &str) -> Outcome<Program> {
    let named = format!("{revision}^{{commit}}");
    let commit = first_line(git().args(["rev-parse", "--verify", "--quiet", &named]))?;
    let kept = repository().join("target/against");
    let binary = kept.join(format!("millrace-server-{commit}"));
    if !binary.exists() {
        fs::create_dir_all(&kept)?;
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        run(git()
            .args(["worktree", "add", "--detach", "--quiet"])
            .arg(&tree)
            .arg(&commit))?;
        let target = kept.join("target");
        let built = run(Command::new("cargo")
            .args([
                "build",
                "--release",
                "-p",
                "millrace-server",
                "--bin",
                "millrace-server",
            ])
            .current_dir(&tree)
            .env("CARGO_TARGET_DIR", &target));
        run(git().args(["worktree", "remove", "--force"]).arg(&tree))?;
        built?;
        fs::copy(target.join("release/millrace-server"), &binary)?;
    }
    Ok(millrace(binary))
}

/// Apache Kafka's jars, fetched by name through Maven unless `libraries` says where they are.
pub(crate) fn kafka(libraries: Option<&Path>) -> Outcome<Program> {
    first_line(Command::new("java").arg("-version")).map_err(|why| format!("no java: {why}"))?;
    if let Some(libraries) = libraries {
        return Ok(Program::Kafka {
            libraries: libraries.to_owned(),
        });
    }
    let libraries = repository().join("target/kafka-4.3.1");
    if !libraries.is_dir() {
        let names = repository().join("server/tests/clients/foreign/tools-4.3/pom.xml");
        let fetched = run(Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(names)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", libraries.display())));
        if let Err(why) = fetched {
            // Half of them would look like all of them the next time.
            let _ = fs::remove_dir_all(&libraries);
            return Err(why);
        }
    }
    Ok(Program::Kafka { libraries })
}

/// A broker with no further properties.
pub(crate) fn millrace(server: PathBuf) -> Program {
    Program::Millrace {
        server,
        properties: Vec::new(),
    }
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(repository());
    git
}

/// The first line of what a command prints.
pub(crate) fn first_line(command: &mut Command) -> Outcome<String> {
    let text = said(command)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
