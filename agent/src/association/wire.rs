//! PDUs on a connection (PS3.8 9.3), within limits and times.
use crate::limits::association::{IDLE, MAX_ASSOCIATE_PDU, MAX_PDU, READ};
use dicom_ul::pdu::{Pdu, read_pdu, write_pdu};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

const P_DATA: u8 = 4;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Nothing came, or nothing could be sent, in time.
    #[error("the peer was silent for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A PDU is longer than was negotiated.
    #[error("a PDU of {0} bytes is over the limit")]
    TooLong(u32),
    /// A PDU is not what PS3.8 says.
    #[error("a PDU cannot be read: {0}")]
    Malformed(String),
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
}

/// One presentation data value of a P-DATA-TF PDU (PS3.8 9.3.5.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct DataValue<'a> {
    pub context: u8,
    pub is_command: bool,
    pub is_last: bool,
    pub bytes: &'a [u8],
}

/// What was received.
pub(super) enum Received {
    /// P-DATA-TF: its values are in the wire's buffer.
    Data,
    /// Any other PDU.
    Other(Pdu),
}

/// A connection that speaks PDUs.
pub(super) struct Wire<S> {
    stream: S,
    /// Body of the last P-DATA-TF.
    body: Vec<u8>,
    out: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, body: Vec::new(), out: Vec::new() }
    }

    /// Waits for a PDU: `wait` for its first byte, then `READ` for the rest.
    pub(super) async fn receive(&mut self, wait: Duration) -> Result<Received, WireError> {
        let mut head = [0; 6];
        timeout(wait, self.stream.read_exact(&mut head[..1]))
            .await
            .map_err(|_| WireError::TimedOut(wait))?
            .map_err(closed)?;
        timeout(READ, self.receive_rest(head)).await.map_err(|_| WireError::TimedOut(READ))?
    }

    async fn receive_rest(&mut self, mut head: [u8; 6]) -> Result<Received, WireError> {
        self.stream.read_exact(&mut head[1..]).await.map_err(closed)?;
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let limit = if head[0] == P_DATA { MAX_PDU } else { MAX_ASSOCIATE_PDU };
        if length > limit {
            return Err(WireError::TooLong(length));
        }
        if head[0] == P_DATA {
            self.body.resize(length as usize, 0);
            self.stream.read_exact(&mut self.body).await.map_err(closed)?;
            return Ok(Received::Data);
        }
        let mut pdu = head.to_vec();
        pdu.resize(6 + length as usize, 0);
        self.stream.read_exact(&mut pdu[6..]).await.map_err(closed)?;
        match read_pdu(pdu.as_slice(), MAX_ASSOCIATE_PDU, true) {
            Ok(Some(pdu)) => Ok(Received::Other(pdu)),
            Ok(None) => Err(WireError::Malformed("it ends early".into())),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        }
    }

    /// The values of the last P-DATA-TF.
    pub(super) fn values(&self) -> Values<'_> {
        Values { rest: &self.body }
    }

    /// Sends a PDU other than P-DATA-TF.
    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), WireError> {
        self.out.clear();
        write_pdu(&mut self.out, pdu).map_err(|error| WireError::Malformed(error.to_string()))?;
        self.flush().await
    }

    /// Sends a message: a command set and, where there is one, a data set, in fragments of at most `max_pdu`.
    pub(super) async fn send_message(
        &mut self,
        context: u8,
        command: &[u8],
        dataset: Option<&[u8]>,
        max_pdu: u32,
    ) -> Result<(), WireError> {
        self.out.clear();
        self.fragment(context, 1, command, max_pdu);
        let Some(dataset) = dataset else {
            return self.flush().await;
        };
        // A part at a time, so that a large object is not held twice.
        const PART: usize = 1 << 20;
        let parts = dataset.chunks(PART).count().max(1);
        for n in 0..parts {
            let part = &dataset[(n * PART).min(dataset.len())..((n + 1) * PART).min(dataset.len())];
            self.fragment_part(context, part, n + 1 == parts, max_pdu);
            self.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    fn fragment(&mut self, context: u8, control: u8, bytes: &[u8], max_pdu: u32) {
        let room = (max_pdu as usize).saturating_sub(6).max(1);
        let count = bytes.chunks(room).count();
        for (n, part) in bytes.chunks(room).enumerate() {
            self.value(context, control | if n + 1 == count { 2 } else { 0 }, part);
        }
    }

    fn fragment_part(&mut self, context: u8, part: &[u8], is_end: bool, max_pdu: u32) {
        let room = (max_pdu as usize).saturating_sub(6).max(1);
        let count = part.chunks(room).count().max(1);
        if part.is_empty() {
            self.value(context, 2, part);
        }
        for (n, fragment) in part.chunks(room).enumerate() {
            self.value(context, if is_end && n + 1 == count { 2 } else { 0 }, fragment);
        }
    }

    fn value(&mut self, context: u8, control: u8, bytes: &[u8]) {
        let value = bytes.len() as u32 + 2;
        self.out.extend_from_slice(&[P_DATA, 0]);
        self.out.extend_from_slice(&(value + 4).to_be_bytes());
        self.out.extend_from_slice(&value.to_be_bytes());
        self.out.extend_from_slice(&[context, control]);
        self.out.extend_from_slice(bytes);
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        timeout(IDLE, write).await.map_err(|_| WireError::TimedOut(IDLE))??;
        Ok(())
    }
}

/// Walks the values of a P-DATA-TF.
pub(super) struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<DataValue<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let malformed = || Some(Err(WireError::Malformed("a presentation data value ends early".into())));
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
            self.rest = &[];
            return malformed();
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length < 2 || length > rest.len() {
            self.rest = &[];
            return malformed();
        }
        let (value, rest) = rest.split_at(length);
        self.rest = rest;
        Some(Ok(DataValue {
            context: value[0],
            is_command: value[1] & 1 == 1,
            is_last: value[1] & 2 == 2,
            bytes: &value[2..],
        }))
    }
}

fn closed(error: std::io::Error) -> WireError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => WireError::Closed,
        _ => WireError::Io(error),
    }
}
