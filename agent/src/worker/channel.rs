//! Messages with open files between agent and worker, over a Unix stream socket.
//!
//! A message is a head of 8 bytes (length of the body, number of files; both little endian, 32 bit), whose files travel
//! with its first byte (SCM_RIGHTS), and a JSON body. Both ends bound what they read before they read it.
use crate::limits::worker::{MAX_FILES, MAX_MESSAGE};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side has gone.
    #[error("the other side closed the connection")]
    Closed,
    /// The system refused.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// More than a message may hold.
    #[error("message of {bytes} bytes with {files} files is over the limit")]
    TooLarge {
        /// Bytes of the body.
        bytes: usize,
        /// Files.
        files: usize,
    },
    /// A result's masks and pictures are missing, or not as its message says.
    #[error("its bulk cannot be used: {0}")]
    Bulk(std::io::Error),
    /// The answer is to another question than the last one.
    #[error("it answers another question than the last one")]
    Stale,
    /// The body is not what it should be.
    #[error("message cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// One end of the connection.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// A channel over a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// Sends one message with its files.
    pub fn send<M: Serialize>(&mut self, message: &M, files: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let body = serde_json::to_vec(message)?;
        if body.len() > MAX_MESSAGE || files.len() > MAX_FILES {
            return Err(ChannelError::TooLarge { bytes: body.len(), files: files.len() });
        }
        let mut head = [0; 8];
        head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&(files.len() as u32).to_le_bytes());
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(ChannelError::TooLarge { bytes: body.len(), files: files.len() });
        }
        // Both in one piece: the other side is woken once.
        let pieces = [IoSlice::new(&head), IoSlice::new(&body)];
        let sent = sendmsg(&self.socket, &pieces, &mut control, SendFlags::NOSIGNAL);
        let sent = sent.map_err(|errno| closed(errno.into()))?;
        self.socket.write_all(&head[sent.min(head.len())..]).map_err(closed)?;
        self.socket.write_all(&body[sent.saturating_sub(head.len())..]).map_err(closed)
    }

    /// Waits for one message and its files.
    pub fn receive<M: DeserializeOwned>(&mut self) -> Result<(M, Vec<OwnedFd>), ChannelError> {
        let (head, files) = self.receive_head()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (length, count) = (word(0), word(4));
        if length > MAX_MESSAGE || count > MAX_FILES {
            return Err(ChannelError::TooLarge { bytes: length, files: count });
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).map_err(closed)?;
        if files.len() != count {
            return Err(ChannelError::TooLarge { bytes: length, files: files.len() });
        }
        Ok((serde_json::from_slice(&body)?, files))
    }

    /// The connection once more, for whoever has to end it from another thread.
    pub fn connection(&self) -> std::io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// The longest wait for what comes next, from now on; then the answer is an error of the system's, that it timed out.
    pub fn wait_at_most(&self, patience: Duration) -> Result<(), ChannelError> {
        Ok(self.socket.set_read_timeout(Some(patience))?)
    }

    fn receive_head(&mut self) -> Result<([u8; 8], Vec<OwnedFd>), ChannelError> {
        let mut head = [0; 8];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut files = Vec::new();
        let received = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut head)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|errno| closed(errno.into()))?.bytes,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                files.extend(fds);
            }
        }
        if received == 0 {
            return Err(ChannelError::Closed);
        }
        self.socket.read_exact(&mut head[received..]).map_err(closed)?;
        Ok((head, files))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn closed(error: std::io::Error) -> ChannelError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
            ChannelError::Closed
        }
        _ => ChannelError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().expect("socket pair");
        (Channel::new(a), Channel::new(b))
    }

    #[test]
    fn a_message_carries_its_files() {
        let (mut a, mut b) = pair();
        let file = tempfile::tempfile().expect("file");
        (&file).write_all(b"pixels").expect("write");
        a.send(&"job", &[file.as_fd()]).expect("send");
        let (message, files): (String, _) = b.receive().expect("receive");
        assert_eq!((message.as_str(), files.len()), ("job", 1));
        let mut copy = File::from(files.into_iter().next().expect("one file"));
        let mut text = String::new();
        std::io::Seek::rewind(&mut copy).expect("rewind");
        copy.read_to_string(&mut text).expect("read");
        assert_eq!(text, "pixels");
    }

    #[test]
    fn a_length_that_claims_gigabytes_is_refused_before_anything_is_read() {
        let (a, mut b) = pair();
        (&a.socket).write_all(&[0xff; 8]).expect("write");
        assert!(matches!(b.receive::<String>(), Err(ChannelError::TooLarge { .. })));
    }

    #[test]
    fn a_peer_that_goes_away_is_seen_at_any_byte() {
        let (mut a, _) = pair();
        a.socket.shutdown(std::net::Shutdown::Both).expect("shutdown");
        assert!(matches!(a.receive::<String>(), Err(ChannelError::Closed)));
        let (a, mut b) = pair();
        (&a.socket).write_all(&[9, 0, 0, 0, 0, 0, 0, 0, b'"']).expect("write");
        drop(a);
        assert!(matches!(b.receive::<String>(), Err(ChannelError::Closed)));
    }
}
