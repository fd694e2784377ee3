//! Sessions and the throttle of failed logins; all in memory: a restart ends every session.
use crate::enrol::network;
use crate::limits::people::{
    LOGIN_WINDOW, MAX_FAILING_ADDRESSES, MAX_FAILURES_PER_ADDRESS, MAX_FAILURES_PER_USER, MAX_SESSIONS, SESSION_LIFE,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Open sessions, by the SHA-256 of their token: a dump of memory gives no cookie, and a lookup leaks no timing of one.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

struct Session {
    user: String,
    since: Instant,
}

impl Sessions {
    /// Begins a session and gives its token: 256 random bits; `None` when the system gives no randomness.
    pub fn begin(&self, user: &str) -> Option<String> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut open = lock(&self.0);
        open.retain(|_, session| session.since.elapsed() < SESSION_LIFE);
        if open.len() >= MAX_SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.since).map(|(key, _)| *key);
            oldest.and_then(|key| open.remove(&key));
        }
        open.insert(hash(&token), Session { user: user.to_owned(), since: Instant::now() });
        Some(token)
    }

    /// The user of a token.
    pub fn user(&self, token: &str) -> Option<String> {
        let open = lock(&self.0);
        open.get(&hash(token)).filter(|s| s.since.elapsed() < SESSION_LIFE).map(|s| s.user.clone())
    }

    /// Ends a session and says whose it was.
    pub fn end(&self, token: &str) -> Option<String> {
        lock(&self.0).remove(&hash(token)).map(|session| session.user)
    }
}

/// Failed logins in the current window.
#[derive(Default)]
pub(super) struct Throttle(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    by_address: HashMap<IpAddr, Window>,
    by_user: HashMap<String, Window>,
}

struct Window {
    began: Instant,
    failures: u32,
}

impl Throttle {
    /// True when this address or this user has to wait.
    pub fn waits(&self, address: IpAddr, user: Option<&str>) -> bool {
        let failures = lock(&self.0);
        let over = |window: Option<&Window>, most: u32| {
            window.is_some_and(|w| w.began.elapsed() < LOGIN_WINDOW && w.failures >= most)
        };
        over(failures.by_address.get(&network(address)), MAX_FAILURES_PER_ADDRESS)
            || user.is_some_and(|user| over(failures.by_user.get(user), MAX_FAILURES_PER_USER))
    }

    /// Counts an attempt before its password is checked, so that attempts at once cannot pass the limit together. `user`
    /// only where there is such a user: their number is bounded.
    pub fn count(&self, address: IpAddr, user: Option<&str>) {
        let mut failures = lock(&self.0);
        failures.by_address.retain(|_, w| w.began.elapsed() < LOGIN_WINDOW);
        if failures.by_address.len() >= MAX_FAILING_ADDRESSES {
            let oldest = failures.by_address.iter().min_by_key(|(_, w)| w.began).map(|(key, _)| *key);
            oldest.and_then(|key| failures.by_address.remove(&key));
        }
        count(&mut failures.by_address, network(address));
        if let Some(user) = user {
            count(&mut failures.by_user, user.to_owned());
        }
    }

    /// Takes the attempt back: it succeeded.
    pub fn forget(&self, address: IpAddr, user: &str) {
        let mut failures = lock(&self.0);
        failures.by_address.remove(&network(address));
        failures.by_user.remove(user);
    }
}

fn count<K: Eq + Hash>(windows: &mut HashMap<K, Window>, key: K) {
    let window = windows.entry(key).or_insert_with(|| Window { began: Instant::now(), failures: 0 });
    if window.began.elapsed() >= LOGIN_WINDOW {
        *window = Window { began: Instant::now(), failures: 0 };
    }
    window.failures = window.failures.saturating_add(1);
}

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn a_session_lives_until_its_logout() {
        let sessions = Sessions::default();
        let (first, second) = (sessions.begin("åse").unwrap(), sessions.begin("åse").unwrap());
        assert_ne!(first, second);
        assert_eq!(first.len(), 43); // 32 bytes in base64
        assert_eq!(sessions.user(&first).as_deref(), Some("åse"));
        assert_eq!(sessions.end(&first).as_deref(), Some("åse"));
        assert_eq!((sessions.user(&first), sessions.user("guess")), (None, None));
        assert!(sessions.user(&second).is_some());
    }

    #[test]
    fn sessions_past_the_limit_end_the_oldest() {
        let sessions = Sessions::default();
        let first = sessions.begin("åse").unwrap();
        for _ in 0..MAX_SESSIONS {
            sessions.begin("åse").unwrap();
        }
        assert_eq!(sessions.user(&first), None);
        assert_eq!(lock(&sessions.0).len(), MAX_SESSIONS);
    }

    #[test]
    fn guesses_from_many_addresses_are_throttled_by_user_and_fill_no_memory() {
        let throttle = Throttle::default();
        for i in 0..2 * MAX_FAILING_ADDRESSES {
            let address = IpAddr::V6(Ipv6Addr::from((i as u128) << 64));
            throttle.count(address, Some("åse"));
        }
        let fresh = IpAddr::from([10, 0, 0, 1]);
        assert!(throttle.waits(fresh, Some("åse")));
        assert!(!throttle.waits(fresh, Some("bo")));
        assert!(lock(&throttle.0).by_address.len() <= MAX_FAILING_ADDRESSES);
    }

    #[test]
    fn one_address_waits_after_its_failures_and_a_success_forgets_them() {
        let (throttle, address) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        for _ in 0..MAX_FAILURES_PER_ADDRESS {
            assert!(!throttle.waits(address, None));
            throttle.count(address, None);
        }
        assert!(throttle.waits(address, None));
        throttle.forget(address, "åse");
        assert!(!throttle.waits(address, None));
    }
}
