//! The house rules as a test: who may know whom, where `unsafe` may stand, and that invariants are named and checked.
//!
//! The rules stand in ARCHITECTURE.md; this file reads its tables and scans the sources as plain text. It guards walls,
//! not taste: sizes and names are for the reader's judgment. Tests in the sources may know more than the room they test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What only the rooms that say so may name.
const OUTSIDE: [&str; 8] = [
    "tokio",
    "nix",
    "io_uring",
    "socket2",
    "tracing",
    "std::fs",
    "std::net",
    "std::thread",
];

#[test]
fn every_room_imports_only_what_its_row_allows() {
    let mut faults = Vec::new();
    for (part, sources) in [("engine", "engine/src"), ("server", "server/src")] {
        let rooms = rooms(part);
        for source in sources_under(sources) {
            let place = module_of(&source.path, sources);
            let Some((name, room)) = room_of(&rooms, &place) else {
                // The crate's own door (lib.rs) and its start (main.rs) see all rooms.
                if place.len() > 1 {
                    faults.push(format!("{}: no room of this name", source.name));
                }
                continue;
            };
            for (line, wanted) in imports(&source.production_code(), &place) {
                let own = place.first().is_some_and(|own| *own == wanted);
                if !own && !room.allowed.contains(&wanted) {
                    let at = format!("{}:{line}", source.name);
                    faults.push(format!("{at}: `{name}` may not import `{wanted}`"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_of_the_tables_exists() {
    for (part, sources) in [("engine", "engine/src"), ("server", "server/src")] {
        for name in rooms(part).keys() {
            let path = root().join(sources).join(name.replace("::", "/"));
            let exists = path.is_dir() || path.with_extension("rs").is_file();
            assert!(
                exists,
                "ARCHITECTURE.md names the room `{name}`, {} is not there",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_stands_in_the_io_room_only() {
    let mut faults = Vec::new();
    for folder in ["engine", "server", "tools", "benches"] {
        for source in sources_under(folder) {
            let allowed = source.name.starts_with("engine/src/io/");
            for (line, code) in source.code() {
                let has = |word: &str| words(&code).any(|found| found == word);
                if !allowed && has("unsafe") {
                    faults.push(format!("{}:{line}: unsafe", source.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_invariant_is_described_and_checked() {
    let document = architecture();
    let described: BTreeSet<String> = document
        .lines()
        .filter(|line| line.starts_with("| INV-"))
        .filter_map(|line| invariant_ids(line).into_iter().next())
        .collect();
    assert!(
        !described.is_empty(),
        "ARCHITECTURE.md has no table of invariants"
    );
    let mut cited = BTreeMap::new();
    let mut checked = BTreeSet::new();
    for folder in ["engine", "server", "tools"] {
        for source in sources_under(folder) {
            if source.name == "tools/tests/house.rs" {
                continue;
            }
            let checker = source.name.starts_with("engine/tests/simulation/");
            for (number, line) in source.lines() {
                for id in invariant_ids(line) {
                    // The message of an assertion begins with the id; a checker of the simulation may name it anyhow.
                    if checker || line.contains(&format!("\"{id}: ")) {
                        checked.insert(id.clone());
                    }
                    cited.insert(id, format!("{}:{number}", source.name));
                }
            }
        }
    }
    let mut faults = Vec::new();
    for (id, place) in &cited {
        if !described.contains(id) {
            faults.push(format!("{place}: {id} is not in ARCHITECTURE.md"));
        }
    }
    for id in described.difference(&checked) {
        faults.push(format!("{id} is in ARCHITECTURE.md, but nothing checks it"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn architecture_names_files_that_exist() {
    let faults: Vec<String> = architecture()
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('/') && name.ends_with(".rs") && !name.contains('*'))
        .filter(|name| {
            let homes = [
                "",
                "engine/src",
                "engine/tests/simulation",
                "server/src",
                "server/wire/src",
                "tools/src",
            ];
            !homes
                .iter()
                .any(|home| root().join(home).join(name).is_file())
        })
        .map(str::to_owned)
        .collect();
    assert!(
        faults.is_empty(),
        "ARCHITECTURE.md names what is not there:\n{}",
        faults.join("\n")
    );
}

#[test]
fn architecture_can_be_read_in_one_sitting() {
    let lines = architecture().lines().count();
    assert!(
        lines <= 350,
        "ARCHITECTURE.md has {lines} lines, 350 is the most"
    );
}

/// A row of a room table.
struct Room {
    /// Rooms, and names of [`OUTSIDE`], that it may import.
    allowed: BTreeSet<String>,
}

/// The rows between `<!-- rooms: PART -->` and `<!-- end -->`: a room in backquotes, then what it may import, each in
/// backquotes. A room `a::b` is a folder or file within `a` with a row of its own.
fn rooms(part: &str) -> BTreeMap<String, Room> {
    let document = architecture();
    let begin = format!("<!-- rooms: {part} -->");
    let (_, table) = document
        .split_once(&begin)
        .expect("ARCHITECTURE.md has the table");
    let (table, _) = table
        .split_once("<!-- end -->")
        .expect("the table has an end");
    let mut rooms = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        for name in quoted(cells[1]) {
            let allowed = quoted(cells[2]).into_iter().collect();
            rooms.insert(name, Room { allowed });
        }
    }
    assert!(!rooms.is_empty(), "the table of rooms of {part} is empty");
    rooms
}

/// The row with the longest name that `place` lies in.
fn room_of<'a>(rooms: &'a BTreeMap<String, Room>, place: &[String]) -> Option<(&'a str, &'a Room)> {
    (1..=place.len()).rev().find_map(|length| {
        let (name, room) = rooms.get_key_value(&place[..length].join("::"))?;
        Some((name.as_str(), room))
    })
}

/// The module a file holds, as the path below its crate: `log/mod.rs` is `log`, `log/append.rs` is `log`, `append`.
fn module_of(path: &Path, sources: &str) -> Vec<String> {
    let below = path
        .strip_prefix(root().join(sources))
        .expect("it lies there");
    let mut place: Vec<String> = below
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if place.last().is_some_and(|last| last == "mod") {
        place.pop();
    }
    place
}

/// What a module names of other rooms and of the outside, with the line: `io` for `crate::io::...`, `engine::log` for
/// `millrace_engine::log::...`, `wire` for `millrace_wire::...`.
fn imports(code: &[(usize, String)], place: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, code) in code {
        let mut names = Vec::new();
        names.extend(paths_after(code, "crate::"));
        names.extend(paths_after(code, "millrace_engine::").map(|name| format!("engine::{name}")));
        names.extend(paths_after(code, "millrace_wire::").map(|_| "wire".to_owned()));
        // `super` out of the room. Indented lines stand in an inline module or a function, one level further in.
        let supers = code.matches("super::").count();
        if code.starts_with("use super::") && supers >= place.len() {
            names.extend(paths_after(code, "super::").last());
        }
        for outside in OUTSIDE {
            let (first, rest) = outside.split_once("::").unwrap_or((outside, ""));
            let matches = |name: String| rest.is_empty() || name == rest;
            if paths_after(code, &format!("{first}::")).any(matches) {
                names.push(outside.to_owned());
            }
        }
        found.extend(names.into_iter().map(|name| (*line, name)));
    }
    found
}

/// The words right behind each `prefix` that begins a path in `code`; `*` for a type of the crate's own door, or a group
/// in braces that hides what it names.
fn paths_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let inside_a_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
        if prefix != "super::" && before.is_some_and(inside_a_path) {
            return None;
        }
        let rest = &code[at + prefix.len()..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let hidden = !name.starts_with(|c: char| c.is_lowercase() || c == '_');
        Some(if hidden { "*".to_owned() } else { name })
    })
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

/// All `INV-NAME-NUMBER` of a line.
fn invariant_ids(line: &str) -> Vec<String> {
    line.match_indices("INV-")
        .map(|(at, _)| {
            let id = line[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-');
            id.collect::<String>().trim_end_matches('-').to_owned()
        })
        .filter(|id| id.ends_with(|c: char| c.is_ascii_digit()))
        .collect()
}

/// A source file.
struct Source {
    path: PathBuf,
    /// Its path below the workspace, with slashes.
    name: String,
    text: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines with strings and comments blanked out, so that only code is left.
    fn code(&self) -> Vec<(usize, String)> {
        (1..)
            .zip(without_text(&self.text).lines().map(str::to_owned))
            .collect()
    }

    /// [`Self::code`] without tests.
    fn production_code(&self) -> Vec<(usize, String)> {
        let tests = |part: &str| part == "tests" || part == "tests.rs";
        if self.name.split('/').any(tests) {
            return Vec::new();
        }
        let mut code = self.code();
        let test_module = code.windows(2).position(|pair| {
            pair[0].1 == "#[cfg(test)]" && pair[1].1.starts_with("mod ") && pair[1].1.ends_with('{')
        });
        code.truncate(test_module.unwrap_or(code.len()));
        code
    }
}

/// `text` with comments and the insides of string literals made blank; lines stay where they are.
fn without_text(text: &str) -> String {
    let mut blank = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else {
            blank.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        blank.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    blank
}

/// Bytes of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

fn sources_under(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let name = path.strip_prefix(root()).expect("it lies there");
                let name = name.to_string_lossy().into_owned();
                sources.push(Source { path, name, text });
            }
        }
    }
    assert!(!sources.is_empty(), "no sources under {folder}");
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there")
}

fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools
        .parent()
        .expect("tools lies in the workspace")
        .to_owned()
}

#[test]
fn the_scanner_sees_code_and_no_text() {
    let source = "use crate::io::File; // crate::shard\nlet c = '\"'; call(\"crate::log \\\" x\"); crate::group::go();\n";
    let code = without_text(source);
    assert_eq!(
        code,
        "use crate::io::File; \nlet c = ; call(); crate::group::go();\n"
    );
    let lines: Vec<(usize, String)> = (1..).zip(code.lines().map(str::to_owned)).collect();
    let place = ["a".to_owned(), "b".to_owned()];
    let found = imports(&lines, &place);
    assert_eq!(found, [(1, "io".to_owned()), (2, "group".to_owned())]);
    let out = [(1, "use super::super::shard::Shard;".to_owned())];
    assert_eq!(imports(&out, &place), [(1, "shard".to_owned())]);
    let within = [
        (1, "use super::names;".to_owned()),
        (2, "use std::thread;".to_owned()),
    ];
    assert_eq!(imports(&within, &place), [(2, "std::thread".to_owned())]);
}
