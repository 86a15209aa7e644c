//! Values kept elsewhere: `${file:/path:key}`, `${directory:/path:file}` and `${env:NAME}` (KIP-297, KIP-887).
//!
//! Only providers that `config.providers` names are asked; Kafka's three stand behind their short names.

use std::collections::BTreeMap;
use std::path::Path;

use super::properties_file;

/// Reads a text file whole, or says why not.
pub(super) type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// What the providers may look at.
pub(super) struct Providers<'a> {
    /// The names in `config.providers` with the provider behind each.
    pub(super) named: BTreeMap<String, Provider>,
    /// Environment variables.
    pub(super) environment: &'a BTreeMap<String, String>,
    /// How files are read.
    pub(super) read_file: ReadFile<'a>,
}

/// One of Kafka's own providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    File,
    Directory,
    Environment,
}

impl Provider {
    /// The provider of a Java class, or of a short name where no class is given.
    pub(super) fn of(name: &str, class: Option<&str>) -> Option<Self> {
        let class = class.map(|class| class.rsplit('.').next().unwrap_or(class));
        match class.unwrap_or(name) {
            "FileConfigProvider" | "file" => Some(Self::File),
            "DirectoryConfigProvider" | "directory" | "dir" => Some(Self::Directory),
            "EnvVarConfigProvider" | "env" => Some(Self::Environment),
            _ => None,
        }
    }
}

impl Providers<'_> {
    /// `text` with every reference to a named provider replaced by what it stands for. Other text that looks like a
    /// reference stays as it is, and so does what a provider answers.
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let reference = after.split_once('}');
            let known = reference.and_then(|(reference, after)| {
                let (name, place) = reference.split_once(':')?;
                Some((*self.named.get(name)?, reference, place, after))
            });
            match known {
                Some((provider, reference, place, after)) => {
                    let value = self.value(provider, place);
                    expanded.push_str(&value.map_err(|why| format!("${{{reference}}}: {why}"))?);
                    rest = after;
                }
                None => {
                    expanded.push_str("${");
                    rest = after;
                }
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&self, provider: Provider, place: &str) -> Result<String, String> {
        let (path, key) = place.rsplit_once(':').unwrap_or(("", place));
        match provider {
            Provider::Environment => {
                let value = self.environment.get(key).cloned();
                value.ok_or_else(|| format!("there is no environment variable {key}"))
            }
            Provider::File => {
                let (entries, _) = properties_file::parse(&(self.read_file)(Path::new(path))?);
                let found = entries.into_iter().rev().find(|entry| entry.key == key);
                let value = found.map(|entry| entry.value);
                value.ok_or_else(|| format!("{path} has no key {key}"))
            }
            Provider::Directory if key.is_empty() || key == ".." || key.contains('/') => {
                Err(format!("{key:?} is no name of a file in {path}"))
            }
            Provider::Directory => {
                (self.read_file)(&Path::new(path).join(key)).map(|text| text.trim().to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let environment = BTreeMap::from([("RACK".to_owned(), "r1".to_owned())]);
        let read_file = |path: &Path| match path.to_str() {
            Some("/secrets.properties") => Ok("rack=r2\npassword=p w\n".to_owned()),
            Some("/secrets/rack") => Ok("r3\n".to_owned()),
            _ => Err("no such file".to_owned()),
        };
        let named = [
            ("env", Provider::Environment),
            ("file", Provider::File),
            ("dir", Provider::Directory),
        ];
        let named = named
            .map(|(name, provider)| (name.to_owned(), provider))
            .into();
        Providers {
            named,
            environment: &environment,
            read_file: &read_file,
        }
        .expand(text)
    }

    #[test]
    fn references_are_replaced() {
        let text = "a-${env:RACK}-${file:/secrets.properties:rack}-${dir:/secrets:rack}";
        assert_eq!(expand(text).as_deref(), Ok("a-r1-r2-r3"));
        assert_eq!(expand("${env::RACK}").as_deref(), Ok("r1"));
    }

    #[test]
    fn what_no_provider_owns_stays_as_it_is() {
        for text in ["${vault:a:b}", "${", "${env", "$env:RACK}", "${}"] {
            assert_eq!(expand(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_an_error() {
        for text in [
            "${env:NO}",
            "${file:/secrets.properties:no}",
            "${file:/no:x}",
            "${dir:/a:../b}",
        ] {
            assert!(expand(text).is_err(), "{text}");
        }
    }
}
