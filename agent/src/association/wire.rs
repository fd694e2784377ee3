//! PDUs on a connection (PS3.8 9.3), within limits and times.
//!
//! Association PDUs are read by `dicom-ul`. P-DATA-TF is read here: its values are handed on in pieces, as they lie in the
//! one buffer of the connection, so that neither a PDU nor a data set is ever held whole.
use crate::limits::association::{MAX_ASSOCIATE_PDU, MAX_PDU, READ, WRITE};
use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, Pdu, read_pdu, write_pdu};
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

const P_DATA: u8 = 4;
/// PDU type, a reserved byte, length; and as long: item length, context, control header.
const HEAD: usize = 6;
/// Room to begin with: an association request of the usual length.
const SMALL_BUFFER: usize = 16 * 1024;
/// Room once data come: several PDUs of the usual length in one read, and still in the processor's cache.
const DATA_BUFFER: usize = 256 * 1024;
/// What is written at once of a data set.
const PART: usize = 256 * 1024;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Nothing came, or nothing could be sent, in time.
    #[error("the peer was silent for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A PDU, or a message made of many, is longer than its limit.
    #[error("{what} of {length} bytes is over the limit")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// As the peer claims it, or as far as it came.
        length: u64,
    },
    /// A PDU is not what PS3.8 says.
    #[error("a PDU cannot be read: {0}")]
    Malformed(String),
    /// A PDU or a message comes where PS3.8 or PS3.7 allows none.
    #[error("the peer is out of step: {0}")]
    OutOfStep(&'static str),
    /// The peer aborted the association.
    #[error("the peer aborted the association")]
    Aborted,
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
}

impl WireError {
    /// What the peer is told (PS3.8 9.3.8).
    pub(super) fn abort(&self) -> Pdu {
        use AbortRQServiceProviderReason as Reason;
        let reason = match self {
            Self::TooLong { .. } | Self::Malformed(_) => Reason::InvalidPduParameter,
            Self::OutOfStep(_) => Reason::UnexpectedPdu,
            _ => Reason::ReasonNotSpecified,
        };
        Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) }
    }
}

/// A piece of a presentation data value (PS3.8 9.3.5.1, annex E.2).
#[derive(Clone, Debug)]
pub(super) struct DataValue {
    pub context: u8,
    pub is_command: bool,
    /// The command set or data set ends with this piece.
    pub is_last: bool,
    /// Where it lies: [`Wire::bytes`].
    range: Range<usize>,
}

/// What was received.
#[derive(Debug)]
pub(super) enum Received {
    /// A piece of a P-DATA-TF.
    Data(DataValue),
    /// Any other PDU.
    Other(Box<Pdu>),
}

/// A connection that speaks PDUs.
pub(super) struct Wire<S> {
    stream: S,
    input: Vec<u8>,
    /// What was read and not handed on yet.
    unread: Range<usize>,
    /// Bytes that are still to come of the P-DATA-TF, the current value's among them.
    pdu_left: usize,
    /// The value that is being read.
    value: Option<Value>,
    /// When the PDU that has begun must be there.
    due: Option<Instant>,
    output: Vec<u8>,
}

struct Value {
    context: u8,
    control: u8,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            input: vec![0; SMALL_BUFFER],
            unread: 0..0,
            pdu_left: 0,
            value: None,
            due: None,
            output: Vec::new(),
        }
    }

    /// The bytes of the piece that was received last.
    pub(super) fn bytes(&self, value: &DataValue) -> &[u8] {
        &self.input[value.range.clone()]
    }

    /// Waits for a PDU, or for the next piece of one: `wait` for its first byte, then `READ` for the rest.
    ///
    /// What was read so far is kept where the returned future is dropped.
    pub(super) async fn receive(&mut self, wait: Duration) -> Result<Received, WireError> {
        loop {
            if let Some(value) = &self.value {
                if value.left > 0 && self.unread.is_empty() {
                    self.fill(1, wait).await?;
                }
                return Ok(Received::Data(self.piece()));
            }
            self.fill(HEAD, wait).await?;
            let head = self.head();
            let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
            if self.pdu_left > 0 {
                self.unread.start += HEAD;
                self.begin_value(head)?;
            } else if head[0] == P_DATA {
                self.begin_data(length)?;
            } else {
                return self.other(length, wait).await;
            }
        }
    }

    /// A P-DATA-TF begins.
    fn begin_data(&mut self, length: u32) -> Result<(), WireError> {
        if length > MAX_PDU {
            return Err(WireError::TooLong { what: "a PDU", length: length.into() });
        }
        if (length as usize) < HEAD {
            return Err(WireError::Malformed("a P-DATA-TF holds no value".to_owned()));
        }
        if self.input.len() < DATA_BUFFER {
            self.input.resize(DATA_BUFFER, 0);
        }
        self.unread.start += HEAD;
        self.pdu_left = length as usize;
        Ok(())
    }

    /// A presentation data value begins.
    fn begin_value(&mut self, head: [u8; HEAD]) -> Result<(), WireError> {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        // The item's length counts context and control header; its own four bytes count in the PDU's.
        if length < 2 || length > self.pdu_left - 4 {
            return Err(WireError::Malformed("a presentation data value does not fit its PDU".to_owned()));
        }
        self.value = Some(Value { context: head[4], control: head[5], left: length - 2 });
        self.pdu_left -= HEAD;
        if self.pdu_left > length - 2 && self.pdu_left - (length - 2) < HEAD {
            return Err(WireError::Malformed("a PDU ends within a presentation data value".to_owned()));
        }
        Ok(())
    }

    /// What is there of the current value.
    fn piece(&mut self) -> DataValue {
        let Some(value) = &mut self.value else {
            return DataValue { context: 0, is_command: false, is_last: false, range: 0..0 };
        };
        let length = value.left.min(self.unread.len());
        value.left -= length;
        self.pdu_left -= length;
        let range = self.unread.start..self.unread.start + length;
        self.unread.start = range.end;
        let is_end = value.left == 0;
        let piece = DataValue {
            context: value.context,
            is_command: value.control & 1 == 1,
            is_last: is_end && value.control & 2 == 2,
            range,
        };
        if is_end {
            self.value = None;
            self.due = self.due.filter(|_| self.pdu_left > 0);
        }
        piece
    }

    /// A PDU other than P-DATA-TF.
    async fn other(&mut self, length: u32, wait: Duration) -> Result<Received, WireError> {
        if length > MAX_ASSOCIATE_PDU {
            return Err(WireError::TooLong { what: "a PDU", length: length.into() });
        }
        let length = HEAD + length as usize;
        self.fill(length, wait).await?;
        let pdu = &self.input[self.unread.start..self.unread.start + length];
        let pdu = read_pdu(pdu, MAX_ASSOCIATE_PDU, true);
        self.unread.start += length;
        self.due = None;
        match pdu {
            Ok(Some(pdu)) => Ok(Received::Other(Box::new(pdu))),
            Ok(None) => Err(WireError::Malformed("it ends early".to_owned())),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        }
    }

    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head.copy_from_slice(&self.input[self.unread.start..self.unread.start + HEAD]);
        head
    }

    /// Reads until at least `count` bytes are there: as many as come at once.
    async fn fill(&mut self, count: usize, wait: Duration) -> Result<(), WireError> {
        if self.unread.len() >= count {
            return Ok(());
        }
        // Less than a head is moved, or once the beginning of an association PDU.
        self.input.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        self.input.resize(self.input.len().max(count), 0);
        while self.unread.len() < count {
            let is_within = self.pdu_left > 0 || !self.unread.is_empty();
            let (due, time) = if is_within {
                (*self.due.get_or_insert_with(|| Instant::now() + READ), READ)
            } else {
                (Instant::now() + wait, wait)
            };
            let read = self.stream.read(&mut self.input[self.unread.end..]);
            let read = timeout_at(due, read).await.map_err(|_| WireError::TimedOut(time))?.map_err(closed)?;
            if read == 0 {
                return Err(WireError::Closed);
            }
            self.unread.end += read;
        }
        Ok(())
    }

    /// Sends a PDU other than P-DATA-TF.
    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), WireError> {
        self.output.clear();
        write_pdu(&mut self.output, pdu).map_err(|error| WireError::Malformed(error.to_string()))?;
        self.flush().await
    }

    /// Sends a message: a command set and, where there is one, a data set, in PDUs of at most `max_pdu`.
    pub(super) async fn send_message(
        &mut self,
        context: u8,
        command: &[u8],
        dataset: Option<&[u8]>,
        max_pdu: u32,
    ) -> Result<(), WireError> {
        self.output.clear();
        self.fragment(context, 1, command, true, max_pdu);
        let Some(dataset) = dataset else {
            return self.flush().await;
        };
        // A part at a time, so that a large object is not held twice.
        let mut rest = dataset;
        loop {
            let (part, later) = rest.split_at(rest.len().min(PART));
            self.fragment(context, 0, part, later.is_empty(), max_pdu);
            self.flush().await?;
            self.output.clear();
            if later.is_empty() {
                return Ok(());
            }
            rest = later;
        }
    }

    /// Adds PDUs of one value each. `is_end`: the last of them ends the command set or data set.
    fn fragment(&mut self, context: u8, control: u8, bytes: &[u8], is_end: bool, max_pdu: u32) {
        // PS3.8 annex E.2: a fragment is of even length.
        let room = ((max_pdu as usize).saturating_sub(HEAD) & !1).max(2);
        let mut rest = bytes;
        loop {
            let (now, later) = rest.split_at(rest.len().min(room));
            let length = now.len() as u32 + 2;
            let last = if is_end && later.is_empty() { 2 } else { 0 };
            self.output.extend_from_slice(&[P_DATA, 0]);
            self.output.extend_from_slice(&(length + 4).to_be_bytes());
            self.output.extend_from_slice(&length.to_be_bytes());
            self.output.extend_from_slice(&[context, control | last]);
            self.output.extend_from_slice(now);
            if later.is_empty() {
                return;
            }
            rest = later;
        }
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        timeout(WRITE, write).await.map_err(|_| WireError::TimedOut(WRITE))?.map_err(closed)
    }

    /// Ends our half of the connection and waits, for at most `time`, until the peer has ended its own: what was sent last
    /// is lost where a connection is closed before the peer has read it.
    pub(super) async fn linger(mut self, time: Duration) {
        let end = async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut self.input).await? > 0 {}
            std::io::Result::Ok(())
        };
        // A peer that is gone, or stays, changes nothing.
        let _ = timeout(time, end).await;
    }
}

fn closed(error: std::io::Error) -> WireError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => WireError::Closed,
        _ => WireError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT: Duration = Duration::from_secs(5);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    /// Feeds bytes in writes of `step`, ends the connection, and collects messages until the wire ends.
    async fn collect(bytes: Vec<u8>, step: usize) -> (Vec<(u8, bool, Vec<u8>)>, WireError) {
        let (mut peer, ours) = tokio::io::duplex(100);
        let write = tokio::spawn(async move {
            for part in bytes.chunks(step) {
                if peer.write_all(part).await.is_err() {
                    return;
                }
            }
        });
        let mut wire = Wire::new(ours);
        let (mut messages, mut current) = (Vec::new(), Vec::new());
        let error = loop {
            match wire.receive(WAIT).await {
                Ok(Received::Data(value)) => {
                    current.extend_from_slice(wire.bytes(&value));
                    if value.is_last {
                        messages.push((value.context, value.is_command, std::mem::take(&mut current)));
                    }
                }
                Ok(Received::Other(_)) => {}
                Err(error) => break error,
            }
        };
        drop(wire);
        write.await.unwrap();
        (messages, error)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_message_in_any_fragments_is_read_as_it_was_sent(
            dataset in prop::collection::vec(any::<u8>(), 0..3000),
            max_pdu in 8..2000u32,
            step in 1..300usize,
        ) {
            run(async {
                let (peer, ours) = tokio::io::duplex(1 << 20);
                Wire::new(ours).send_message(3, b"command!", Some(&dataset), max_pdu).await.unwrap();
                let mut bytes = Vec::new();
                let mut peer = peer;
                peer.read_to_end(&mut bytes).await.unwrap();
                let (messages, error) = collect(bytes, step).await;
                assert!(matches!(error, WireError::Closed), "{error}");
                assert_eq!(messages, [(3, true, b"command!".to_vec()), (3, false, dataset)]);
            });
        }

        #[test]
        fn no_bytes_make_it_panic_or_take_memory(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            kind in 0..9u8,
            step in 1..50usize,
        ) {
            // A length that fits, so that the body is looked at.
            let mut pdu = vec![kind, 0];
            pdu.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            pdu.extend_from_slice(&bytes);
            run(async {
                collect(pdu, step).await;
                collect(bytes, step).await;
            });
        }
    }

    #[test]
    fn a_length_that_claims_gigabytes_ends_the_connection_at_once() {
        for kind in [1, P_DATA, 9] {
            let (_, error) = run(collect(vec![kind, 0, 0xff, 0xff, 0xff, 0xff], 6));
            assert!(matches!(error, WireError::TooLong { .. }), "{error}");
        }
    }
}
