//! What an accept loop does when the system gives it no socket (EMFILE, ENFILE, ENOMEM): the connection stays in the
//! backlog and `accept` fails again at once, so that a loop without a pause takes a whole processor and fills the log.
use std::io;
use std::time::{Duration, Instant};

/// First pause; each further failure in a row doubles it.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longest pause: who waits in the backlog is served so long after a descriptor is free.
const LONGEST: Duration = Duration::from_secs(1);
/// Between two lines of the log.
const SILENCE: Duration = Duration::from_mins(1);

/// One listener's trouble.
#[derive(Debug)]
pub(super) struct Exhausted {
    listener: &'static str,
    pause: Duration,
    told: Option<Instant>,
}

impl Exhausted {
    pub fn new(listener: &'static str) -> Self {
        Self { listener, pause: SHORTEST, told: None }
    }

    /// The next connection, however often it has to be asked for. May be dropped while it waits.
    pub async fn next<T, F: Future<Output = io::Result<T>>>(&mut self, mut accept: impl FnMut() -> F) -> T {
        loop {
            match accept().await {
                Ok(connection) => {
                    self.pause = SHORTEST;
                    return connection;
                }
                Err(error) => {
                    if self.told.is_none_or(|told| told.elapsed() >= SILENCE) {
                        self.told = Some(Instant::now());
                        tracing::warn!(listener = self.listener, %error, "no connection can be taken; tried until one can");
                    }
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_without_descriptors_waits_longer_each_time_and_serves_when_there_is_one() {
        let (mut left, begun) = (12, tokio::time::Instant::now());
        let mut exhausted = Exhausted::new("a test");
        let accept = || {
            left -= 1;
            // EMFILE.
            let answer = if left > 0 { Err(io::Error::from_raw_os_error(24)) } else { Ok("served") };
            std::future::ready(answer)
        };
        assert_eq!(exhausted.next(accept).await, "served");
        // 10 ms doubled to 640 ms, then 1 s four times.
        assert_eq!(begun.elapsed().as_millis(), 1270 + 4 * 1000);
        assert_eq!(exhausted.pause, SHORTEST);
    }
}
