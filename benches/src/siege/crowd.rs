//! Connections that are opened again whenever the broker has closed them.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::load::rest;

/// So many connections to one address.
pub(super) struct Crowd {
    address: SocketAddr,
    members: Vec<Option<Member>>,
}

/// One connection.
pub(super) struct Member {
    stream: TcpStream,
    /// Turns since it was opened.
    pub(super) age: usize,
    /// Its place among the others.
    pub(super) number: usize,
}

impl Crowd {
    pub(super) fn new(address: SocketAddr, size: usize) -> Self {
        let members = std::iter::repeat_with(|| None).take(size).collect();
        Self { address, members }
    }

    /// Lets every member act again and again until the end, with a pause between two rounds. One whose act fails begins
    /// anew. At most `arrivals` connections are opened in a round.
    pub(super) fn keep_acting(
        mut self,
        ending: &AtomicBool,
        pause: Duration,
        arrivals: usize,
        mut act: impl FnMut(&mut Member) -> Result<()>,
    ) {
        while !ending.load(Ordering::Relaxed) {
            let mut left = arrivals;
            for (number, place) in self.members.iter_mut().enumerate() {
                if place.is_none() && left > 0 {
                    left -= 1;
                    *place = Member::connect(self.address, number).ok();
                }
                if let Some(member) = place {
                    let acted = act(member);
                    member.age += 1;
                    if acted.is_err() {
                        *place = None;
                    }
                }
            }
            rest(pause);
        }
    }
}

impl Member {
    fn connect(address: SocketAddr, number: usize) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            age: 0,
            number,
        })
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads at most so many bytes; an error once the broker has closed.
    pub(super) fn read(&mut self, bytes_max: usize) -> Result<()> {
        let mut buffer = vec![0; bytes_max];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}
