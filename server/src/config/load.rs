//! Reading the configuration at start: properties file, environment, `--override`; every fault and everything worth
//! saying about it.
//!
//! It reads the file and nothing else; printing the notes is `main`'s.

mod complete;
mod hostile;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_engine::config::{Handling, TOPIC_PROPERTIES};

use super::broker::{BROKERS, BrokerConfig, LOWERED_TO_BROKERS};
use super::environment;
use super::listeners::Listeners;
use super::properties_file;
use super::providers::{Provider, Providers};
use super::report::{Fault, LoadError, Note, NoteKind};
use super::settings::{Origin, Setting, Settings};
use super::table::{self, RETIRED_BROKER_KEYS, RETIRED_PREFIXES};
use super::view::{CORDONED, ConfigView};

pub use hostile::load_hostile;

/// Where settings may come from; later ones beat earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The properties file; without one the broker listens on localhost and keeps its data under ./data.
    pub file: Option<PathBuf>,
    /// The process's environment; only names that begin with `KAFKA_` count as settings.
    pub environment: Vec<(String, String)>,
    /// `key=value` of each `--override`.
    pub overrides: Vec<String>,
}

/// A configuration the broker can start with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What holds, typed.
    pub config: BrokerConfig,
    /// What clients are shown; takes dynamic settings once they are known.
    pub view: ConfigView,
    /// What the operator should hear of, once.
    pub notes: Vec<Note>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// An unreadable file, values that are not allowed, settings that contradict each other: all of them at once.
pub fn load(sources: &Sources) -> Result<Loaded, LoadError> {
    load_with(sources, &read_file)
}

fn load_with(
    sources: &Sources,
    read_file: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<Loaded, LoadError> {
    let mut load = Load::default();
    if let Some(path) = &sources.file {
        load.take_file(path, read_file);
    }
    load.take_environment(&sources.environment);
    load.take_overrides(&sources.overrides);
    let environment = sources.environment.iter().cloned().collect();
    load.expand_references(&environment, read_file);
    load.check_values();
    load.complete(sources.file.is_some());
    load.check_directories();
    load.check_roles();
    load.check_authorizer();
    load.note_lowered();
    load.finish()
}

/// Longer files are no configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;

fn read_file(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes; allowed: {FILE_BYTES_MAX}"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    // Java reads Latin-1; people write UTF-8. What is no UTF-8 is taken as Java takes it.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
}

#[derive(Default)]
struct Load {
    settings: Settings,
    notes: Vec<Note>,
    faults: Vec<Fault>,
}

impl Load {
    fn note(&mut self, kind: NoteKind, key: &str, origin: &Origin, text: impl Into<String>) {
        self.notes.push(Note {
            kind,
            key: key.to_owned(),
            origin: origin.clone(),
            text: text.into(),
        });
    }

    fn fault(&mut self, key: &str, text: impl Into<String>) {
        let origin = self
            .settings
            .find(key)
            .map(|setting| setting.origin.clone());
        self.faults.push(Fault {
            origin,
            text: text.into(),
        });
    }

    /// A fault about the value of `key`, in the form every such fault has.
    fn fault_of_value(&mut self, key: &str, problem: &str) {
        let value = self.settings.text(key).unwrap_or("null");
        let text = format!("Invalid value {value} for configuration {key}: {problem}");
        self.fault(key, text);
    }

    fn take_file(&mut self, path: &Path, read_file: &dyn Fn(&Path) -> Result<String, String>) {
        let text = match read_file(path) {
            Ok(text) => text,
            Err(why) => {
                let text = format!("cannot read {}: {why}", path.display());
                self.faults.push(Fault { origin: None, text });
                return;
            }
        };
        let place = |line| Origin::File {
            path: path.to_owned(),
            line,
        };
        let (entries, errors) = properties_file::parse(&text);
        for error in errors {
            self.faults.push(Fault {
                origin: Some(place(error.line)),
                text: error.to_string(),
            });
        }
        for entry in entries {
            let origin = place(entry.line);
            let setting = Setting {
                text: entry.value,
                origin: origin.clone(),
            };
            if let Some(lost) = self.settings.set(entry.key.as_str(), setting) {
                let text = format!("set before at {}; this one holds", lost.origin);
                self.note(NoteKind::Repeated, &entry.key, &origin, text);
            }
        }
    }

    fn take_environment(&mut self, environment: &[(String, String)]) {
        // Sorted, so that KAFKA_CFG_X and KAFKA_X have the same winner whatever order the system tells them in.
        for (variable, text) in environment.iter().collect::<BTreeSet<_>>() {
            if let Some(key) = environment::key_of(variable) {
                let origin = Origin::Environment {
                    variable: variable.clone(),
                };
                self.settings.set(
                    key,
                    Setting {
                        text: text.trim().to_owned(),
                        origin,
                    },
                );
            }
        }
    }

    fn take_overrides(&mut self, overrides: &[String]) {
        for given in overrides {
            match given.split_once('=') {
                Some((key, text)) if !key.trim().is_empty() => {
                    let setting = Setting {
                        text: text.trim().to_owned(),
                        origin: Origin::Override,
                    };
                    self.settings.set(key.trim(), setting);
                }
                _ => self.faults.push(Fault {
                    origin: Some(Origin::Override),
                    text: format!("{given:?} is no setting; allowed: key=value"),
                }),
            }
        }
    }

    fn expand_references(
        &mut self,
        environment: &BTreeMap<String, String>,
        read_file: &dyn Fn(&Path) -> Result<String, String>,
    ) {
        let names = self
            .settings
            .text("config.providers")
            .unwrap_or_default()
            .to_owned();
        let mut named = BTreeMap::new();
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let class = self
                .settings
                .text(&format!("config.providers.{name}.class"));
            match Provider::of(name, class) {
                Some(provider) => {
                    named.insert(name.to_owned(), provider);
                }
                None => {
                    let problem =
                        format!("{name} is no provider known here; allowed: file, directory, env");
                    self.fault_of_value("config.providers", &problem);
                }
            }
        }
        let providers = Providers {
            named,
            environment,
            read_file,
        };
        let mut dangling = Vec::new();
        for (key, setting) in self.settings.texts_mut() {
            match providers.expand(&setting.text) {
                Ok(text) => setting.text = text,
                Err(why) => dangling.push((key.to_owned(), why)),
            }
        }
        for (key, why) in dangling {
            self.fault(&key, format!("the value of {key} leads nowhere: {why}"));
        }
    }

    fn check_values(&mut self) {
        let given: Vec<_> = self
            .settings
            .iter()
            .map(|(key, setting)| (key.to_owned(), setting.clone()))
            .collect();
        for (key, Setting { text, origin }) in given {
            let Some(row) = table::find(&key) else {
                self.note_unknown(&key, &origin);
                continue;
            };
            if let Err(error) = row.parse(&text) {
                let text = millrace_engine::config::ValueError { key, ..error }.to_string();
                self.faults.push(Fault {
                    origin: Some(origin),
                    text,
                });
                continue;
            }
            match row.handling {
                Handling::Accepted if key == "zookeeper.connect" => {
                    self.note(NoteKind::Retired, &key, &origin, row.documentation);
                }
                Handling::Accepted => {
                    self.note(
                        NoteKind::WithoutEffect,
                        &key,
                        &origin,
                        "accepted without effect",
                    );
                }
                Handling::Pending(what) => {
                    let text = format!("accepted; takes effect once there is support for {what}");
                    self.note(NoteKind::Pending, &key, &origin, text);
                }
                Handling::Honoured | Handling::Mapped | Handling::Refused(_) => {}
            }
        }
    }

    fn note_unknown(&mut self, key: &str, origin: &Origin) {
        if key.starts_with("config.providers.") {
            return;
        }
        let retired = RETIRED_BROKER_KEYS.iter().find(|(name, _)| *name == key);
        let family = || {
            RETIRED_PREFIXES
                .iter()
                .find(|(prefix, _)| key.starts_with(prefix))
        };
        if let Some((_, advice)) = retired.or_else(family) {
            self.note(
                NoteKind::Retired,
                key,
                origin,
                format!("no longer a setting: {advice}"),
            );
            return;
        }
        let twin = TOPIC_PROPERTIES.find(key).and_then(|row| row.twins.first());
        let text = match twin {
            Some(twin) => format!(
                "a setting of topics, ignored here; for all topics set {}",
                twin.name
            ),
            None => "unknown, ignored".to_owned(),
        };
        self.note(NoteKind::Unknown, key, origin, text);
    }

    fn note_lowered(&mut self) {
        for &key in LOWERED_TO_BROKERS {
            let Some(setting) = self.settings.find(key).cloned() else {
                continue;
            };
            if setting
                .text
                .parse::<i64>()
                .is_ok_and(|wanted| wanted > BROKERS)
            {
                let text = format!(
                    "lowered from {} to {BROKERS}, the number of brokers",
                    setting.text
                );
                self.note(NoteKind::Lowered, key, &setting.origin, text);
            }
        }
    }

    fn finish(mut self) -> Result<Loaded, LoadError> {
        let held = |key: &str| {
            let set = self.settings.text(key);
            set.or_else(|| table::find(key)?.default).map(str::to_owned)
        };
        let is_set = |key: &str| self.settings.find(key).is_some();
        let listeners = match Listeners::parse(held, is_set) {
            Ok(listeners) => Some(listeners),
            Err(errors) => {
                for error in errors {
                    self.fault_of_value(error.key, &error.problem);
                }
                None
            }
        };
        for name in listeners
            .iter()
            .flat_map(|listeners| listeners.controllers.clone())
        {
            let Some(origin) = self
                .settings
                .find("listeners")
                .map(|setting| setting.origin.clone())
            else {
                continue;
            };
            let text = format!("{name} is not opened: the controller is in this process");
            self.note(NoteKind::Advice, "listeners", &origin, text);
        }
        match listeners.filter(|_| self.faults.is_empty()) {
            Some(listeners) => {
                let view = ConfigView::new(Arc::new(self.settings), listeners);
                let cordoned = view.settings().find(CORDONED);
                let cordoned = cordoned.map(|setting| view.check_cordoned(&setting.text));
                let checks = [
                    cordoned.unwrap_or(Ok(())),
                    view.check_key_memory(),
                    view.check_addresses(),
                ];
                let faults: Vec<_> = checks
                    .into_iter()
                    .filter_map(Result::err)
                    .map(|error| Fault {
                        origin: view
                            .settings()
                            .find(&error.key)
                            .map(|one| one.origin.clone()),
                        text: error.to_string(),
                    })
                    .collect();
                if !faults.is_empty() {
                    return Err(LoadError { faults });
                }
                if let Err(error) = view.check_entrance()
                    && let Some(setting) = view.settings().find(&error.key)
                {
                    self.notes.push(Note {
                        kind: NoteKind::Advice,
                        key: error.key,
                        origin: setting.origin.clone(),
                        text: "nobody can connect".to_owned(),
                    });
                }
                let config = view.broker_config();
                self.notes.sort_by_key(|note| note.kind);
                Ok(Loaded {
                    config,
                    view,
                    notes: self.notes,
                })
            }
            None => Err(LoadError {
                faults: self.faults,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
