//! The channel is listened to while a step works: it can stop the action, or have another one.
use super::{Halt, Machine};
use crate::ddi::client::{ActionLink, DdiError, Polled, feedback};
use crate::ddi::{Execution, Finished, Progress, WAITS};
use crate::fault::Fault;
use crate::machine::record::{Record, persist};
use crate::status::{Now, Poll, Status, Trouble};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// First wait after a poll that nobody answered; it doubles up to the longest interval.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// What `os-unexpected`, `os-stays`, `os-leaves` and `os-fell-back` are about.
const NOT_THE_SYSTEM: &str = "the operating system is not the one that it should be";

/// When to poll, and what the box does now.
pub(super) struct Pace {
    bounds: (Duration, Duration),
    state: Mutex<State>,
}

struct State {
    interval: Duration,
    next: Instant,
    misses: u32,
    now: Now,
    progress: Option<Progress>,
    told: Option<Progress>,
    rejected: BTreeSet<String>,
    waits_for: String,
}

impl Pace {
    pub(super) fn new(bounds: (Duration, Duration)) -> Self {
        let state = State {
            interval: bounds.0,
            next: Instant::now(),
            misses: 0,
            now: Now::default(),
            progress: None,
            told: None,
            rejected: BTreeSet::new(),
            waits_for: String::new(),
        };
        Self { bounds, state: Mutex::new(state) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the next poll is due.
    pub(super) fn next(&self) -> Instant {
        self.with(|state| state.next)
    }

    /// Returns once the next poll is due, which a busy server may put off meanwhile.
    async fn is_due(&self) {
        while Instant::now() < self.next() {
            tokio::time::sleep_until(self.next()).await;
        }
    }

    pub(super) fn say(&self, doing: &str) {
        self.with(|state| {
            doing.clone_into(&mut state.now.doing);
            state.now.waits = None;
        });
    }

    /// Whether the region was heard at the last look, or why not; says whether that is news.
    pub(super) fn hears(&self, fault: Option<&Fault>) -> bool {
        self.with(|state| {
            let is_news = state.now.unheard.as_ref() != fault;
            state.now.unheard = fault.cloned();
            is_news
        })
    }

    /// Why the region was not heard at the last look.
    pub(super) fn unheard(&self) -> Option<Fault> {
        self.with(|state| state.now.unheard.clone())
    }

    pub(super) fn progress(&self, progress: Option<Progress>) {
        self.with(|state| state.progress = progress);
    }

    fn answered(&self, polled: &Polled) {
        let (least, most) = self.bounds;
        self.with(|state| {
            // Within the box's own bounds, whatever the server says.
            state.interval = polled.sleep.unwrap_or(state.interval).clamp(least, most);
            state.misses = 0;
            state.next = Instant::now() + jittered(state.interval);
        });
    }

    fn missed(&self, asked: Option<Duration>) {
        let most = self.bounds.1;
        self.with(|state| {
            let backoff = FIRST_RETRY.saturating_mul(1 << state.misses.min(16)).min(most);
            state.misses = state.misses.saturating_add(1);
            // Never before the time that the server asks for, and not all boxes at that time; one that asks for none is not flooded.
            let asked = asked.unwrap_or_default().mul_f64(jitter(1.0, 1.2));
            state.next = Instant::now() + asked.max(jittered(backoff));
        });
    }

    /// The server wants to be left alone for so long: also where it said so to something else than a poll.
    fn put_off(&self, asked: Duration) {
        let until = Instant::now() + asked.mul_f64(jitter(1.0, 1.2));
        self.with(|state| state.next = state.next.max(until));
    }
}

impl Machine {
    /// Polls, and remembers when to poll next.
    pub(super) async fn poll(&self) -> Result<Polled, DdiError> {
        let polled = self.ddi.poll().await;
        match &polled {
            Ok(polled) => self.pace.answered(polled),
            Err(DdiError::Away { retry_after, .. }) => self.pace.missed(*retry_after),
            Err(DdiError::Gone | DdiError::Fault(_)) => self.pace.missed(None),
        }
        let trouble = polled.as_ref().err().map(DdiError::in_words);
        if let Some(trouble) = &trouble {
            tracing::warn!(trouble, "the poll found nothing");
        }
        self.note(trouble);
        polled
    }

    /// Work, while the channel is listened to. Where it has another action, or stops this one, the work is left at once.
    ///
    /// All that a step waits for belongs into one: what is asked of the channel when the work ends is dropped, and a line that is slower than
    /// the pieces would never be heard.
    pub(super) async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            done = work => Ok(done),
            halt = self.listen(true) => Err(halt),
        }
    }

    /// As [`Machine::guard`], where the action can't be stopped any more.
    pub(super) async fn guard_to_the_end<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            done = work => Ok(done),
            halt = self.listen(false) => Err(halt),
        }
    }

    /// Work that nothing can interrupt: the channel is polled meanwhile, so that the box is not taken for silent, and the region's switches
    /// are heeded. What else it wants waits.
    pub(super) async fn while_polling<T>(&self, work: impl Future<Output = T>) -> T {
        let polls = Box::pin(async {
            loop {
                self.pace.is_due().await;
                let _ = self.poll().await;
                self.look().await;
            }
        });
        tokio::select! {
            done = work => done,
            never = polls => never,
        }
    }

    /// Returns once the work in hand has to be left. A stick is seen at once, also where the channel is slow to answer.
    async fn listen(&self, can_stop: bool) -> Halt {
        tokio::select! {
            halt = self.hear(can_stop) => halt,
            halt = self.left_for_stick() => halt,
        }
    }

    async fn hear(&self, can_stop: bool) -> Halt {
        let can_stop = can_stop && !self.is_os_started();
        loop {
            self.pace.is_due().await;
            let polled = self.poll().await;
            // What is not heeded now is tried again with the next poll.
            let look = self.look().await;
            if let Some(halt) = Box::pin(self.heed_withdrawal(&look)).await {
                return halt;
            }
            if let Ok(trusted) = &look.trusted
                && Box::pin(self.has_other_authorities(trusted)).await
            {
                return Halt::Authorities;
            }
            let Ok(polled) = polled else { continue };
            self.tell_attributes(&polled).await;
            if !self.is_from_stick() {
                self.tell_progress().await;
            }
            if let Some(link) = &polled.cancel
                && self.answer_stop(link, can_stop).await
            {
                return Halt::Stopped(link.clone());
            }
            if let Some(link) = &polled.deployment {
                self.learn_when(link).await;
            }
            // A system on trial is brought to its end first: half of it can't be left.
            let is_other = polled.deployment.is_some_and(|link| link.id != self.action_id());
            if is_other && !self.is_os_started() && !self.is_from_stick() {
                return Halt::Superseded;
            }
        }
    }

    /// Answers who wants an action stopped while work is done, but for the action in hand that can still be: whether it is to be.
    pub(super) async fn answer_stop(&self, link: &ActionLink, can_stop: bool) -> bool {
        match self.ddi.stops(link).await {
            Ok(stops) if stops == self.action_id() && can_stop => return true,
            Ok(stops) if stops == self.action_id() => self.reject(link).await,
            Ok(_) => self.log(self.ddi.answer_cancel(link, Ok("nothing of it is done here")).await),
            Err(error) => self.log(Err(error)),
        }
        false
    }

    /// Says once that it is too late to stop the action.
    pub(super) async fn reject(&self, link: &ActionLink) {
        if self.pace.with(|state| state.rejected.insert(link.id.clone())) {
            let why = "it serves already and is being watched, or is being taken back: send another state instead";
            self.log(self.ddi.answer_cancel(link, Err(why)).await);
        }
    }

    /// Tells the channel how far the download is. A wait after it is told anew, as after a step.
    async fn tell_progress(&self) {
        let progress = self.pace.with(|state| {
            let is_new = state.progress != state.told;
            state.told.clone_from(&state.progress);
            state.progress.clone().filter(|_| is_new)
        });
        if let Some(progress) = progress {
            let download = feedback(Execution::Download, Finished::None, Some(progress), Vec::new());
            self.log(self.ddi.feedback(self.action_id(), &download).await);
            self.pace.with(|state| state.waits_for.clear());
        }
    }

    /// Tells the channel a step, and says whether it was told; that it can't be holds up nothing. A wait after it is told anew: the last
    /// word is the one that counts there.
    pub(super) async fn tell_step(&self, line: &str) -> bool {
        let progress = Progress { cnt: u32::from(self.step().rank()), of: Some(u32::from(super::ACTIVE) + 1) };
        let proceeding = feedback(Execution::Proceeding, Finished::None, Some(progress), vec![line.to_owned()]);
        let mut is_told = true;
        // The channel knows nothing of what came on a stick.
        if !self.is_from_stick() {
            let told = self.ddi.feedback(self.action_id(), &proceeding).await;
            is_told = told.is_ok();
            self.log(told);
        }
        self.pace.with(|state| state.waits_for.clear());
        self.note(None);
        is_told
    }

    /// Tells the channel why the action waits, where it was not told that already: servers keep a bounded number of lines. Without a word
    /// it would count as silent there.
    pub(super) async fn tell_wait(&self, fault: &Fault) {
        self.pace.say(&fault.to_string());
        self.pace.with(|state| state.now.waits = Some(fault.clone()));
        self.note_now();
        let told = format!("{} {}", self.action_id(), fault.code);
        let is_new = self.pace.with(|state| state.waits_for != told);
        if is_new && self.tell_step(&format!("{WAITS}{fault}")).await {
            self.pace.with(|state| state.waits_for = told);
        }
    }

    /// A server that wants to be left alone is not polled before then. Whoever guards a system on trial knows of that wait.
    pub(super) fn heed_retry_after(&self, error: &DdiError) {
        if let DdiError::Away { retry_after: Some(asked), .. } = error {
            self.pace.put_off(*asked);
            self.is_heard();
        }
    }

    pub(super) fn log(&self, result: Result<(), DdiError>) {
        if let Err(error) = result {
            self.heed_retry_after(&error);
            tracing::warn!(action = self.action_id(), %error, "the channel was not told");
        }
    }

    /// Writes that the box was polled for, and what it does now.
    pub(super) fn note(&self, trouble: Option<String>) {
        self.pace.with(|state| {
            let next = state.next.saturating_duration_since(Instant::now()).as_secs();
            state.now.poll = Some(Poll {
                at: super::now(),
                next: super::now() + next as i64,
                interval_seconds: state.interval.as_secs(),
                trouble,
            });
        });
        self.is_heard();
        self.note_now();
    }

    /// Writes what is the matter, where that is news.
    pub(super) fn note_troubles(&self) {
        let troubles = self.troubles();
        if self.pace.with(|state| state.now.troubles != troubles) {
            self.note_now();
        }
    }

    /// What each poll tries again.
    fn troubles(&self) -> Vec<Trouble> {
        let system = self.os_trouble.clone().map(|fault| Trouble { what: NOT_THE_SYSTEM.to_owned(), fault });
        system.into_iter().chain(self.said.troubles()).collect()
    }

    /// Writes what the box does now: for `status`, and for others on this box.
    pub(super) fn note_now(&self) {
        let troubles = self.troubles();
        let now = self.pace.with(|state| {
            state.now.troubles = troubles;
            state.now.progress.clone_from(&state.progress);
            state.now.clone()
        });
        let record = Record { switches: self.switches().clone(), ..self.record.clone() };
        let is_wanted = self.config.status.parent().is_some_and(std::path::Path::is_dir);
        let status = is_wanted.then(|| serde_json::to_vec(&Status::of(&self.config, &record, now.clone())));
        let files = [(self.config.now_file(), Some(serde_json::to_vec(&now))), (self.config.status.clone(), status)];
        for (path, bytes) in files {
            let Some(Ok(bytes)) = bytes else { continue };
            if let Err(error) = persist(&path, &bytes, 0o640) {
                tracing::warn!(%error, "what the box does now was not written");
            }
        }
    }
}

/// A fault of the work that is tried again at a later poll.
pub(super) fn later(fault: impl Into<Fault>) -> Halt {
    Halt::Later(fault.into())
}

/// Between 90 and 110 percent: boxes that were switched on together don't poll together.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(jitter(0.9, 1.1))
}

/// A random number between two.
fn jitter(least: f64, most: f64) -> f64 {
    let mut random = [0; 2];
    // Without randomness the polls are regular, which does no harm.
    let _ = aws_lc_rs::rand::fill(&mut random);
    least + (most - least) * f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: usize = 1000;

    /// When each of many boxes polls next, in seconds from now, sorted.
    fn polls(bounds: (u64, u64), happens: impl Fn(&Pace)) -> Vec<f64> {
        let (least, most) = bounds;
        let mut waits: Vec<f64> = (0..BOXES)
            .map(|_| {
                let pace = Pace::new((Duration::from_secs(least), Duration::from_secs(most)));
                let now = Instant::now();
                happens(&pace);
                (pace.next() - now).as_secs_f64()
            })
            .collect();
        waits.sort_by(f64::total_cmp);
        waits
    }

    fn answered(pace: &Pace, seconds: u64) {
        pace.answered(&Polled { sleep: Some(Duration::from_secs(seconds)), ..Polled::default() });
    }

    /// No tenth of the span has more than its share of the polls by half.
    fn assert_spread(waits: &[f64], least: f64, most: f64) {
        assert!(waits[0] >= least && waits[BOXES - 1] <= most + 0.1, "{} to {}", waits[0], waits[BOXES - 1]);
        for tenth in 0..10 {
            let from = least + (most - least) / 10.0 * f64::from(tenth);
            let polls = waits.iter().filter(|wait| **wait >= from && **wait < from + (most - least) / 10.0).count();
            assert!((50..=150).contains(&polls), "{polls} of {BOXES} polls in the tenth after {from:.1} s");
        }
    }

    #[test]
    fn boxes_that_were_switched_on_together_do_not_poll_together() {
        assert_spread(&polls((10, 3600), |pace| answered(pace, 300)), 270.0, 330.0);
    }

    #[test]
    fn boxes_that_a_busy_server_sends_away_do_not_come_back_together_nor_too_early() {
        let asked = Duration::from_mins(10);
        assert_spread(&polls((10, 60), |pace| pace.missed(Some(asked))), 600.0, 720.0);
    }

    #[test]
    fn a_server_that_is_busy_with_something_else_than_a_poll_puts_the_next_one_off_and_never_brings_it_forward() {
        let put_off = |seconds| {
            polls((10, 3600), move |pace| {
                answered(pace, 300);
                pace.put_off(Duration::from_secs(seconds));
            })
        };
        assert_spread(&put_off(600), 600.0, 720.0);
        assert_spread(&put_off(20), 270.0, 330.0);
    }

    #[tokio::test]
    async fn a_poll_that_is_put_off_while_it_is_waited_for_comes_no_sooner() {
        let pace = Pace::new((Duration::from_millis(100), Duration::from_secs(1)));
        answered(&pace, 0);
        let begun = Instant::now();
        let put_off = async {
            tokio::task::yield_now().await;
            pace.put_off(Duration::from_millis(500));
        };
        tokio::join!(pace.is_due(), put_off);
        assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_server_that_asks_for_no_wait_is_left_alone_as_one_that_asks_for_nothing() {
        let waits = polls((1, 40), |pace| (0..4).for_each(|_| pace.missed(Some(Duration::ZERO))));
        assert!(waits[0] >= 14.0, "{} s", waits[0]);
    }

    #[test]
    fn the_servers_interval_counts_within_the_boxs_own_bounds() {
        for (asked, least, most) in [(1, 54.0, 66.0), (120, 108.0, 132.0), (86_400, 540.0, 660.0)] {
            let waits = polls((60, 600), |pace| answered(pace, asked));
            assert!(waits[0] >= least && waits[BOXES - 1] <= most + 0.1, "{asked} s: {waits:?}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_asked_less_and_less_often_up_to_the_longest_interval() {
        let mut before = 0.0;
        for misses in 1..=6 {
            let waits = polls((1, 40), |pace| (0..misses).for_each(|_| pace.missed(None)));
            assert!(waits[0] > before && waits[BOXES - 1] <= 44.1, "{misses} misses: {} s", waits[0]);
            before = waits[0].min(30.0);
        }
        let waits = polls((1, 40), |pace| {
            (0..100).for_each(|_| pace.missed(None));
            answered(pace, 10);
            pace.missed(None);
        });
        assert!(waits[BOXES - 1] < 3.0, "an answer forgets the misses");
    }
}
