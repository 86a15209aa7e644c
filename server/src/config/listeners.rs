//! Where the broker listens and what it tells clients to connect to.
//!
//! It reads and checks texts; it opens no socket.

use std::collections::BTreeMap;
use std::fmt;

/// How a listener secures its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encryption nor authentication.
    Plaintext,
    /// TLS.
    Ssl,
    /// Authentication without encryption.
    SaslPlaintext,
    /// Authentication within TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [
            Self::Plaintext,
            Self::Ssl,
            Self::SaslPlaintext,
            Self::SaslSsl,
        ];
        all.into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// A host and a port that somebody can connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// IPv6 addresses in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What clients are told of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Name or address; `None` is the address each client connected to.
    pub host: Option<String>,
    /// The port; another one than is bound where something forwards it.
    pub port: u16,
}

/// One listener for clients. Its protocol is PLAINTEXT: others are refused at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// What to bind: a name or address; `None` is every interface.
    pub host: Option<String>,
    /// What to bind; 0 is any free port.
    pub port: u16,
    /// What Metadata tells clients of this listener; `None` is the address and port each client connected to.
    pub advertised: Option<Advertised>,
}

/// All listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Those that clients connect to; one at least.
    pub clients: Vec<Listener>,
    /// Names of those in `controller.listener.names`. They are not opened: the controller is in this process.
    pub controllers: Vec<String>,
    /// The name of the one that other brokers would use, if one is named.
    pub inter_broker: Option<String>,
    /// The name of the one whose connections need not wait for those of others: what brokers would use, where there are
    /// others beside it.
    pub protected: Option<String>,
}

/// A property about listeners that does not fit the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ListenerError {
    /// The property to blame.
    pub key: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";
const PROTOCOL_MAP: &str = "listener.security.protocol.map";
const CONTROLLERS: &str = "controller.listener.names";
const INTER_BROKER: &str = "inter.broker.listener.name";
const INTER_BROKER_PROTOCOL: &str = "security.inter.broker.protocol";
const FORM: &str = "allowed: NAME://host:port, several with commas between";

impl Listeners {
    /// The listeners that the properties describe; `text` answers what holds for a property, `is_set` whether
    /// somebody set it.
    ///
    /// # Errors
    /// Every contradiction found.
    pub fn parse(
        text: impl Fn(&str) -> Option<String>,
        is_set: impl Fn(&str) -> bool,
    ) -> Result<Self, Vec<ListenerError>> {
        let mut errors = Vec::new();
        let list = |key| text(key).unwrap_or_default();
        let bound = parse_all(LISTENERS, &list(LISTENERS), &mut errors);
        let advertised = parse_all(ADVERTISED, &list(ADVERTISED), &mut errors);
        let protocols = parse_protocols(&list(PROTOCOL_MAP), &mut errors);
        let controllers: Vec<_> = elements(&list(CONTROLLERS))
            .map(str::to_uppercase)
            .collect();
        check_apart(&bound, &mut errors);
        check_advertised(&bound, &advertised, &controllers, &mut errors);
        let (hidden, shown): (Vec<_>, Vec<_>) = bound
            .into_iter()
            .partition(|listener| controllers.contains(&listener.name));
        for listener in &shown {
            check_protocol(&listener.name, &protocols, &mut errors);
        }
        if is_set(PROTOCOL_MAP) {
            for listener in hidden
                .iter()
                .filter(|listener| !protocols.contains_key(&listener.name))
            {
                errors.push(no_protocol(&listener.name));
            }
        }
        if shown.is_empty() && errors.is_empty() {
            errors.push(error(LISTENERS, "there is no listener for clients"));
        }
        let inter_broker = text(INTER_BROKER).filter(|name| !name.is_empty());
        let inter_broker = inter_broker.map(|name| name.to_uppercase());
        if let Some(name) = &inter_broker {
            check_inter_broker(name, &shown, is_set(INTER_BROKER_PROTOCOL), &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut told: BTreeMap<_, _> = advertised
            .into_iter()
            .map(|address| (address.name.clone(), address))
            .collect();
        // Without a name it is the listener that is called as the protocol between brokers.
        let between = inter_broker
            .clone()
            .or_else(|| Some(text(INTER_BROKER_PROTOCOL)?.to_uppercase()));
        let protected =
            between.filter(|name| shown.len() > 1 && shown.iter().any(|bound| bound.name == *name));
        let clients = shown.into_iter().map(|bound| Listener {
            advertised: told.remove(&bound.name).map(|address| Advertised {
                host: address.host,
                port: address.port,
            }),
            name: bound.name,
            host: bound.host,
            port: bound.port,
        });
        Ok(Self {
            clients: clients.collect(),
            controllers,
            inter_broker,
            protected,
        })
    }
}

/// `NAME://host:port` as it stands in a list.
struct Address {
    name: String,
    host: Option<String>,
    port: u16,
}

fn error(key: &'static str, problem: impl Into<String>) -> ListenerError {
    ListenerError {
        key,
        problem: problem.into(),
    }
}

fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn parse_all(key: &'static str, text: &str, errors: &mut Vec<ListenerError>) -> Vec<Address> {
    let mut addresses: Vec<Address> = Vec::new();
    for element in elements(text) {
        match parse_address(element) {
            Some(address) if addresses.iter().any(|other| other.name == address.name) => {
                let problem = format!(
                    "each listener must have a different name, {} is there twice",
                    address.name
                );
                errors.push(error(key, problem));
            }
            Some(address) => addresses.push(address),
            None => errors.push(error(
                key,
                format!("unable to read the listener {element:?}; {FORM}"),
            )),
        }
    }
    addresses
}

fn parse_address(text: &str) -> Option<Address> {
    let (name, place) = text.split_once("://")?;
    let (host, port) = place.rsplit_once(':')?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match inner {
        Some(address) if address.contains(':') => address,
        Some(_) => return None,
        None => host,
    };
    let legal = |symbol: char| symbol.is_ascii_alphanumeric() || "-%._:".contains(symbol);
    let legal_name = |symbol: char| symbol.is_ascii_alphanumeric() || "-_.".contains(symbol);
    if name.is_empty() || !name.chars().all(legal_name) || !host.chars().all(legal) {
        return None;
    }
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Address {
        name: name.to_uppercase(),
        host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        port: port.parse().ok()?,
    })
}

fn parse_protocols(
    text: &str,
    errors: &mut Vec<ListenerError>,
) -> BTreeMap<String, SecurityProtocol> {
    let mut protocols = BTreeMap::new();
    for element in elements(text) {
        let pair = element.split_once(':');
        let known = pair.and_then(|(name, protocol)| {
            let protocol = SecurityProtocol::of(protocol.trim())?;
            Some((name.trim().to_uppercase(), protocol))
        });
        match known {
            Some((name, protocol)) => {
                protocols.insert(name, protocol);
            }
            None => {
                let allowed =
                    "allowed: NAME:PROTOCOL with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
                errors.push(error(
                    PROTOCOL_MAP,
                    format!("unable to read {element:?}; {allowed}"),
                ));
            }
        }
    }
    protocols
}

/// Two listeners may share a port only on two addresses of different families; the kernel has the last word.
fn check_apart(bound: &[Address], errors: &mut Vec<ListenerError>) {
    for (place, one) in bound.iter().enumerate() {
        let same = |other: &&Address| other.port == one.port && other.host == one.host;
        if let Some(other) = bound
            .iter()
            .skip(place + 1)
            .find(same)
            .filter(|_| one.port != 0)
        {
            let problem = format!(
                "each listener must have a different port, {} and {} share {}",
                one.name, other.name, one.port
            );
            errors.push(error(LISTENERS, problem));
        }
    }
}

fn check_advertised(
    bound: &[Address],
    advertised: &[Address],
    controllers: &[String],
    errors: &mut Vec<ListenerError>,
) {
    for address in advertised {
        let name = &address.name;
        if !bound.iter().any(|listener| listener.name == *name) && !controllers.contains(name) {
            let names: Vec<_> = bound
                .iter()
                .map(|listener| listener.name.as_str())
                .collect();
            let problem = format!(
                "{name} is not among the listeners; allowed: {}",
                names.join(", ")
            );
            errors.push(error(ADVERTISED, problem));
        }
        if let Some(host) = address
            .host
            .as_deref()
            .filter(|host| matches!(*host, "0.0.0.0" | "::"))
        {
            let problem = format!(
                "advertised.listeners cannot use the nonroutable meta-address {host}; allowed: a name or address \
                 that clients can connect to, or nothing to advertise the address each client came to"
            );
            errors.push(error(ADVERTISED, problem));
        }
        if address.port == 0 {
            let problem = format!("{name} advertises port 0; allowed: 1 to 65535");
            errors.push(error(ADVERTISED, problem));
        }
    }
}

fn check_protocol(
    name: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
    errors: &mut Vec<ListenerError>,
) {
    match protocols.get(name) {
        Some(SecurityProtocol::Plaintext) => {}
        Some(protocol) => {
            let problem = format!(
                "listener {name} uses {}: TLS and SASL come later, this version speaks PLAINTEXT only and will not \
                 open a secured listener without its security; allowed: PLAINTEXT",
                protocol.name()
            );
            errors.push(error(LISTENERS, problem));
        }
        None => errors.push(no_protocol(name)),
    }
}

fn no_protocol(name: &str) -> ListenerError {
    error(
        PROTOCOL_MAP,
        format!(
            "no security protocol is defined for listener {name}; allowed: {name}:PLAINTEXT among the others"
        ),
    )
}

fn check_inter_broker(
    name: &str,
    shown: &[Address],
    protocol_too: bool,
    errors: &mut Vec<ListenerError>,
) {
    if protocol_too {
        let problem = format!("only one of {INTER_BROKER} and {INTER_BROKER_PROTOCOL} can be set");
        errors.push(error(INTER_BROKER, problem));
    }
    if !shown.iter().any(|listener| listener.name == name) {
        let names: Vec<_> = shown
            .iter()
            .map(|listener| listener.name.as_str())
            .collect();
        let problem = format!(
            "{name} is no listener for clients; allowed: {}",
            names.join(", ")
        );
        errors.push(error(INTER_BROKER, problem));
    }
}

#[cfg(test)]
mod tests;
