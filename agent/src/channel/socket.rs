//! The updater's socket. Who may connect is decided twice: by its mode (0660), and by the user that the system says is at the other
//! end.
use super::desk::Desk;
use super::protocol::{Answer, Request};
use crate::config;
use crate::fault::{Blame, Fault};
use crate::limits::channel::{FIRST_PAUSE, LONGEST_PAUSE, MAX_CONNECTIONS, MAX_REQUEST, PATIENCE};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

const MODE: u32 = 0o660;

/// The agent's end of the socket.
pub struct Channel(UnixListener);

impl Channel {
    /// Binds the socket. The spool is held, so that what lies there is of an agent that is gone.
    pub fn bind(settings: &config::Channel) -> Result<Self, Fault> {
        let path = &settings.socket;
        let bind = || {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
            Ok(listener)
        };
        bind().map(Self).map_err(|error: io::Error| {
            let reason = format!("the channel's socket {} cannot be made: {error}", path.display());
            Fault::new("channel-unavailable", Blame::Box, reason)
        })
    }

    /// Answers until `stop` turns true.
    pub async fn serve(self, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut pause = FIRST_PAUSE;
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = tokio::select! {
                accepted = self.0.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let stream = match stream {
                Ok((stream, _)) => stream,
                // Who knocks waits on, and would be taken at once again: a system that is out of descriptors needs time.
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        tracing::error!(%error, "the channel's socket takes no connection now");
                    }
                    if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                // One that goes away or dawdles has nobody to be told.
                let _ = timeout(PATIENCE, converse(stream, desk)).await;
                drop(place);
            });
        }
    }
}

async fn converse(stream: UnixStream, desk: Arc<Desk>) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let (reading, mut writing) = stream.into_split();
    // Also of a stranger: what is left unread would take the answer with it.
    let mut line = String::new();
    BufReader::new(reading.take(MAX_REQUEST)).read_line(&mut line).await?;
    let answer = if may_ask(user, desk.channel.updater) {
        match serde_json::from_str::<Request>(&line) {
            Ok(request) => desk.answer(request).await,
            Err(error) => {
                Answer::Refused(Fault::new("control-request", Blame::Peer, format!("not a request: {error}")))
            }
        }
    } else {
        let reason = format!("user {user} may not bring states: name the updater's in [channel] updater_user");
        let fault = Fault::new("channel-stranger", Blame::Peer, reason);
        Answer::Refused(desk.pipeline.operation_refused("connect", None, fault))
    };
    writing.write_all(&serde_json::to_vec(&answer)?).await?;
    writing.shutdown().await
}

fn may_ask(user: u32, updater: Option<u32>) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw() || Some(user) == updater
}
