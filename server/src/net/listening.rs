//! Opens the sockets that clients connect to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{Listener, SocketConfig};

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener} cannot listen on {address}: {source}")]
pub struct BindError {
    /// The listener's name.
    pub listener: String,
    /// Where it was to listen.
    pub address: String,
    /// What the system says.
    pub source: io::Error,
}

/// An open listener.
#[derive(Debug)]
pub(crate) struct Bound {
    /// What was asked for.
    pub(crate) listener: Arc<Listener>,
    /// Where it listens; the first is what people are told. Not empty.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(super) sockets: Vec<std::net::TcpListener>,
}

/// Opens one listener: on all interfaces without a host, else on every address its host has.
///
/// # Errors
/// No address can be had, or one is taken.
pub(crate) fn bind(listener: &Listener, config: &SocketConfig) -> Result<Bound, BindError> {
    let host = listener.host.as_deref();
    let failed = |source| BindError {
        listener: listener.name.clone(),
        address: format!("{}:{}", host.unwrap_or("*"), listener.port),
        source,
    };
    let mut bound = Bound {
        listener: Arc::new(listener.clone()),
        addresses: Vec::new(),
        sockets: Vec::new(),
    };
    let mut trouble = None;
    for mut address in candidates(host, listener.port).map_err(failed)? {
        // Port 0: the other addresses of the host get the port that the first was given.
        if let (0, Some(first)) = (address.port(), bound.addresses.first()) {
            address.set_port(first.port());
        }
        let opened = open(address, config).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match opened {
            Ok((address, socket)) => {
                bound.addresses.push(address);
                bound.sockets.push(socket);
                // Every interface, in both families.
                if host.is_none() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(failed(error)),
            // A family that this machine does not have.
            Err(error) => trouble = Some(error),
        }
    }
    match trouble {
        Some(error) if bound.sockets.is_empty() => Err(failed(error)),
        _ if bound.sockets.is_empty() => Err(failed(io::ErrorKind::AddrNotAvailable.into())),
        _ => Ok(bound),
    }
}

fn candidates(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    let Some(host) = host else {
        let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        return Ok(all.map(|address| SocketAddr::new(address, port)).to_vec());
    };
    let mut found: Vec<_> = (host, port).to_socket_addrs()?.collect();
    // IPv4 first: what most clients try, and what a banner should show.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    Ok(found)
}

fn open(address: SocketAddr, config: &SocketConfig) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Before listening: accepted sockets inherit them, and the window scale is settled by the handshake.
    if let Some(bytes) = config.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = config.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(config.listen_backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
