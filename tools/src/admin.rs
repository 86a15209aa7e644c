//! A small client for admin requests: finds the broker a request belongs to, agrees on a version, waits and tries again.
//!
//! It knows who answers what; what requests mean is in `queries` and in the commands. Plaintext only.

mod connection;
mod error;
mod queries;
#[cfg(test)]
pub(crate) mod stub;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use millrace_wire::message::api_versions::ApiVersionsResponse;
use millrace_wire::message::metadata::{MetadataRequest, MetadataResponse};
use millrace_wire::{ErrorCode, Request};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use connection::Connection;
pub(crate) use error::{AdminError, exception};
pub(crate) use queries::{GroupOffsets, OFFSETS_BY_NAME_VERSION, OffsetAnswer, TopicPartition};

use crate::properties::{self, Properties};

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its number.
    pub(crate) id: i32,
    /// Host name or address that it advertises.
    pub(crate) host: String,
    /// The port beside it.
    pub(crate) port: i32,
    /// The rack it says it stands in.
    pub(crate) rack: Option<String>,
}

impl Node {
    fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// Who is to answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Any broker.
    Any,
    /// The controller, or the broker that speaks for it.
    Controller,
    /// The broker with this number.
    Node(i32),
}

/// A client with its connections. Requests run one after another.
#[derive(Debug)]
pub(crate) struct Admin {
    bootstrap: Vec<String>,
    client_id: String,
    /// How long one attempt may take.
    request_timeout: Duration,
    /// How long all attempts together may take.
    api_timeout: Duration,
    /// How long a broker may take to be connected and to say what it serves.
    setup_timeout: Duration,
    connections: BTreeMap<String, Connection>,
    nodes: BTreeMap<i32, Node>,
    controller: Option<i32>,
    warned: bool,
}

impl Admin {
    /// A client for the cluster of these brokers. Nothing is connected yet.
    pub(crate) fn new(servers: &str, properties: &Properties) -> Result<Self, AdminError> {
        // As Java's clients take values.
        let trimmed = |name: &str| properties.get(name).map(|value| value.trim());
        let protocol = trimmed("security.protocol");
        if let Some(protocol) = protocol.filter(|name| !name.eq_ignore_ascii_case("PLAINTEXT")) {
            return Err(AdminError::Protocol {
                protocol: protocol.to_owned(),
            });
        }
        let millis = |name: &str, default: u64| -> Result<Duration, AdminError> {
            let given = properties::millis(properties, name)?;
            Ok(given.unwrap_or(Duration::from_millis(default)))
        };
        Ok(Self {
            bootstrap: parse_servers(servers)?,
            client_id: trimmed("client.id").unwrap_or("millrace-tools").to_owned(),
            request_timeout: millis("request.timeout.ms", 30_000)?,
            api_timeout: millis("default.api.timeout.ms", 60_000)?,
            setup_timeout: millis("socket.connection.setup.timeout.ms", 10_000)?,
            connections: BTreeMap::new(),
            nodes: BTreeMap::new(),
            controller: None,
            warned: false,
        })
    }

    /// Lets every request take at most this long, attempts included.
    pub(crate) fn limit(&mut self, timeout: Duration) {
        self.api_timeout = timeout;
    }

    /// Asks, in the highest version both sides know.
    pub(crate) async fn ask<R: Request>(
        &mut self,
        target: Target,
        request: &R,
    ) -> Result<R::Response, AdminError> {
        self.ask_up_to(target, request, *R::VERSIONS.end()).await
    }

    /// Asks, in the highest version both sides know that is not above `version_max`. A broker that cannot be reached is
    /// tried again until the time is over.
    pub(crate) async fn ask_up_to<R: Request>(
        &mut self,
        target: Target,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, AdminError> {
        let deadline = Instant::now() + self.api_timeout;
        loop {
            let attempt_end = deadline.min(Instant::now() + self.request_timeout);
            let attempt = Box::pin(self.attempt(target, request, version_max));
            let result = match timeout_at(attempt_end, attempt).await {
                Ok(Err(AdminError::Connection { address, source })) => {
                    self.forget(&address);
                    self.warn(&address, &source);
                    None
                }
                Ok(result) => Some(result),
                Err(_) => {
                    // The answer may still come, but nobody would know to which question.
                    self.connections.clear();
                    None
                }
            };
            if let Some(result) = result {
                return result;
            }
            if deadline.duration_since(Instant::now()) <= RETRY_PAUSE {
                return Err(AdminError::Timeout {
                    call: R::KEY.name(),
                });
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// As [`Self::ask`], again as long as the answer has an error that passes, until the time is over. `code_of` finds it.
    pub(crate) async fn ask_patiently<R: Request>(
        &mut self,
        target: Target,
        request: &R,
        code_of: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, AdminError> {
        self.ask_patiently_up_to(target, request, *R::VERSIONS.end(), code_of)
            .await
    }

    /// The same, in a version not above `version_max`.
    pub(crate) async fn ask_patiently_up_to<R: Request>(
        &mut self,
        target: Target,
        request: &R,
        version_max: i16,
        code_of: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, AdminError> {
        let deadline = Instant::now() + self.api_timeout;
        loop {
            let response = self.ask_up_to(target, request, version_max).await?;
            if !code_of(&response).is_retriable() || Instant::now() >= deadline {
                return Ok(response);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Which versions of which APIs a broker says it serves.
    pub(crate) async fn versions(&mut self, node: i32) -> Result<ApiVersionsResponse, AdminError> {
        let address = self.address_of(Target::Node(node)).await?;
        Ok(self.connection(&address).await?.versions.clone())
    }

    /// The brokers that are alive, by number.
    pub(crate) async fn nodes(&mut self) -> Result<Vec<Node>, AdminError> {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..Default::default()
        };
        // Version 0 would answer with all topics, which does no harm.
        let metadata = self.ask(Target::Any, &request).await?;
        self.learn(&metadata);
        Ok(self.nodes.values().cloned().collect())
    }

    async fn attempt<R: Request>(
        &mut self,
        target: Target,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, AdminError> {
        let address = self.address_of(target).await?;
        self.connection(&address)
            .await?
            .ask(request, version_max)
            .await
    }

    async fn address_of(&mut self, target: Target) -> Result<String, AdminError> {
        if target != Target::Any && self.nodes.is_empty() {
            let request = MetadataRequest {
                topics: Some(Vec::new()),
                ..Default::default()
            };
            let address = self.any_address().await?;
            let connection = self.connection(&address).await?;
            let metadata = connection.ask(&request, i16::MAX).await?;
            self.learn(&metadata);
        }
        let id = match target {
            Target::Any => None,
            Target::Controller => self.controller,
            Target::Node(id) if self.nodes.contains_key(&id) => Some(id),
            Target::Node(id) => return Err(AdminError::NoNode { id }),
        };
        match id.and_then(|id| self.nodes.get(&id)) {
            Some(node) => Ok(node.address()),
            None => self.any_address().await,
        }
    }

    /// A broker that is connected or can be: the first of the bootstrap list that answers.
    async fn any_address(&mut self) -> Result<String, AdminError> {
        if let Some(address) = self.connections.keys().next() {
            return Ok(address.clone());
        }
        let mut failed = None;
        for address in self.bootstrap.clone() {
            match self.connection(&address).await {
                Ok(_) => return Ok(address),
                Err(error @ AdminError::Connection { .. }) => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failed.unwrap_or(AdminError::NoServers))
    }

    async fn connection(&mut self, address: &str) -> Result<&mut Connection, AdminError> {
        if !self.connections.contains_key(address) {
            let opened = timeout(
                self.setup_timeout(),
                Connection::open(address, &self.client_id),
            );
            let connection = opened.await.unwrap_or_else(|_| {
                Err(AdminError::Connection {
                    address: address.to_owned(),
                    source: ErrorKind::TimedOut.into(),
                })
            })?;
            self.connections.insert(address.to_owned(), connection);
        }
        self.connections
            .get_mut(address)
            .ok_or(AdminError::NoServers)
    }

    /// Short enough that one attempt comes to every address of the bootstrap list.
    fn setup_timeout(&self) -> Duration {
        let attempt = self.request_timeout.min(self.api_timeout);
        let addresses = u32::try_from(self.bootstrap.len()).unwrap_or(u32::MAX);
        self.setup_timeout.min(attempt / addresses.max(1))
    }

    fn learn(&mut self, metadata: &MetadataResponse) {
        let nodes = metadata.brokers.iter().map(|broker| {
            let node = Node {
                id: broker.node_id,
                host: broker.host.to_string(),
                port: broker.port,
                rack: broker.rack.as_ref().map(ToString::to_string),
            };
            (node.id, node)
        });
        self.nodes = nodes.collect();
        self.controller = Some(metadata.controller_id).filter(|id| *id >= 0);
    }

    fn forget(&mut self, address: &str) {
        self.connections.remove(address);
        self.nodes.clear();
    }

    /// Says once what is being waited for.
    fn warn(&mut self, address: &str, source: &std::io::Error) {
        if !self.warned {
            eprintln!(
                "WARN Connection to node ({address}) could not be established ({source}). Node may not be available."
            );
            self.warned = true;
        }
    }
}

/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

fn address(host: &str, port: i32) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Parses `host:port,host:port`; a protocol in front (`PLAINTEXT://`) is taken off.
fn parse_servers(servers: &str) -> Result<Vec<String>, AdminError> {
    let entries = servers
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let parsed: Result<Vec<String>, AdminError> = entries
        .map(|entry| {
            let invalid = || AdminError::Server {
                entry: entry.to_owned(),
            };
            let rest = entry.split_once("://").map_or(entry, |(_, rest)| rest);
            let (host, port) = rest.rsplit_once(':').ok_or_else(invalid)?;
            let port: u16 = port.parse().map_err(|_| invalid())?;
            if host.is_empty() {
                return Err(invalid());
            }
            Ok(address(host, i32::from(port)))
        })
        .collect();
    match parsed {
        Ok(list) if list.is_empty() => Err(AdminError::NoServers),
        parsed => parsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let servers = parse_servers("a:1, PLAINTEXT://b:2,[::1]:3,").unwrap();
        assert_eq!(servers, ["a:1", "b:2", "[::1]:3"]);
        for wrong in ["a", "a:x", ":1", "a:70000", ""] {
            assert!(parse_servers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn blanks_around_a_value_mean_nothing() {
        let properties = [
            ("security.protocol", "PLAINTEXT "),
            ("request.timeout.ms", "700 "),
            ("client.id", " me\t"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let admin = Admin::new("a:1", &Properties::from(properties)).unwrap();
        assert_eq!(admin.request_timeout, Duration::from_millis(700));
        assert_eq!(admin.client_id, "me");
    }

    #[test]
    fn encrypted_connections_are_refused_with_a_reason() {
        let properties = Properties::from([("security.protocol".into(), "SSL".into())]);
        let error = Admin::new("a:1", &properties).unwrap_err();
        assert!(error.to_string().contains("SSL"), "{error}");
    }
}
