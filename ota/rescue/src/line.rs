//! The TCP connection below TLS, which bears with a peer for so long and no longer.
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_ADDRESSES, Patience};
use crate::source::Source;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A connection whose peer has to be quick enough on the whole, not only from byte to byte.
pub struct Line {
    stream: TcpStream,
    since: Instant,
    received: u64,
    patience: Patience,
}

impl Line {
    /// Connects to a source.
    pub fn to(source: &Source, patience: &Patience) -> Result<Self, Fault> {
        let failed = |reason: String| Fault::new("unreachable", Blame::Network, format!("no connection: {reason}"));
        let addresses = (source.host(), source.port())
            .to_socket_addrs()
            .map_err(|error| failed(format!("{} cannot be resolved: {error}", source.host())))?;
        let mut last = failed(format!("{} has no address", source.host()));
        for address in addresses.take(MAX_ADDRESSES) {
            match TcpStream::connect_timeout(&address, patience.connect) {
                Ok(stream) => {
                    stream
                        .set_write_timeout(Some(patience.idle))
                        .and_then(|()| stream.set_nodelay(true))
                        .map_err(|error| failed(error.to_string()))?;
                    return Ok(Self { stream, since: Instant::now(), received: 0, patience: *patience });
                }
                Err(error) => last = failed(format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    /// What is left of the time that a peer may take for what it has sent.
    fn left(&self) -> Option<Duration> {
        let earned = Duration::from_secs(self.received / self.patience.rate.max(1));
        (self.patience.grace + earned).checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())
    }
}

impl embedded_io::ErrorType for Line {
    type Error = io::Error;
}

impl embedded_io::Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, io::Error> {
        loop {
            let left = self.left().ok_or(io::ErrorKind::TimedOut)?;
            self.stream.set_read_timeout(Some(left.min(self.patience.idle)))?;
            match self.stream.read(buffer) {
                Ok(count) => {
                    self.received += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A timeout of the socket is WouldBlock on Linux.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl embedded_io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, io::Error> {
        match self.stream.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            written => written,
        }
    }

    fn flush(&mut self) -> Result<(), io::Error> {
        self.stream.flush()
    }
}
