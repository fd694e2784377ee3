//! The way back from a system on trial whose own updater does not live, so that nobody would end the trial.
//!
//! Who starts a system on trial says so in a file, and the updater in it says with each poll until when it will be heard again: in a file
//! beside its status, which no disk that runs full keeps from being written, or in the first one where there is no place for a status.
//! `sund-updater guard`, which a timer starts, fails where that time is over, and its unit restarts the box by that. So does one that cannot
//! be started at all. The boot loader starts the system before then.
use crate::config::Config;
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::rauc::{self, Running};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long after its start a system on trial is waited for to be heard of: its network, its clock and its disks take time.
pub const FIRST_WORD: Duration = Duration::from_mins(20);
/// What comes on top of the time to the next poll: a start of the agent, a renewed certificate, an answer that is long in coming.
pub const PATIENCE: Duration = Duration::from_mins(30);
/// The file.
const FILE: &str = "on-trial.json";
/// In bytes.
const MAX_BYTES: u64 = 4 * 1024;

/// `on-trial.json`: it is there for as long as a system is on trial, and outlives a restart. Beside the status lies the word of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The version that was found good on this box: it is never left for this.
    pub good: String,
    /// The boot in which this was said.
    pub boot: String,
    /// Until when the updater of that boot will be heard again, in seconds since it began.
    pub until: u64,
    /// The box was restarted for want of a word. That is done once.
    pub restarted: bool,
}

/// Says that a system is on trial, and that this updater polls again after `next`.
pub fn say(config: &Config, good: &str, running: &Running, next: Duration) -> Result<(), Fault> {
    let until = uptime()? + next + PATIENCE + config.agent.start;
    let before = read(&file(config));
    let restarted = before.as_ref().is_some_and(|before| before.has_restarted(good, running));
    let word = Word { good: good.to_owned(), boot: running.boot.clone(), until: until.as_secs(), restarted };
    let is_said = write(&of_this_boot(config), &word).is_ok();
    match before {
        // What has to outlive a restart is kept already.
        Some(before) if is_said && before.good == good && before.restarted == restarted => Ok(()),
        _ => write(&file(config), &word),
    }
}

/// No system is on trial any more.
pub fn over(config: &Config) -> Result<(), Fault> {
    [file(config), of_this_boot(config)].iter().try_for_each(|file| match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::new("disk-failed", Blame::Box, format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    })
}

/// A system on trial that may have to be left. It is known without the configuration, which may be the very thing that is wrong.
#[derive(Debug)]
pub struct OnTrial {
    file: PathBuf,
    word: Word,
}

impl OnTrial {
    /// Nothing where no system is on trial, where the box was restarted once already, or where it runs the one that was found good.
    pub fn read(directory: &Path, release: &Path) -> Option<Self> {
        let file = directory.join(FILE);
        let word = read(&file)?;
        let is_good = rauc::version(release).is_ok_and(|version| version == word.good);
        (!word.restarted && !is_good).then_some(Self { file, word })
    }

    /// Fails where the box has to restart because nobody looks after that system.
    pub fn check(&self, config: &Config) -> Result<(), Fault> {
        let Some(os) = &config.os else { return Ok(()) };
        let running = rauc::running(os)?;
        let said = read(&of_this_boot(config)).filter(|said| said.good == self.word.good && said.boot == running.boot);
        said.as_ref().unwrap_or(&self.word).silent(&running, uptime()?).map_or(Ok(()), |silent| {
            let reason = format!("{silent}: the box restarts, into {}", self.word.good);
            Err(Fault::new("os-unattended", Blame::Region, reason))
        })
    }

    /// The box restarts for it now, for whatever reason: that is done once. Gives the version that was found good on this box.
    pub fn restarts(self) -> String {
        let word = Word { restarted: true, ..self.word };
        // A disk that does not take that is no reason to stay.
        if let Err(fault) = write(&self.file, &word) {
            tracing::warn!(%fault, "that the box restarts is not kept");
        }
        word.good
    }
}

impl Word {
    /// Whether the box was restarted in this trial: the system that runs was started again, and is none that was just sent on trial.
    fn has_restarted(&self, good: &str, running: &Running) -> bool {
        self.restarted && self.good == good && running.version != good
    }

    /// What is wrong with the updater of the system that runs, if anything.
    fn silent(&self, running: &Running, uptime: Duration) -> Option<String> {
        if self.restarted || running.version == self.good {
            return None;
        }
        let version = &running.version;
        if self.boot == running.boot {
            let is_late = uptime > Duration::from_secs(self.until);
            return is_late.then(|| format!("{version} is on trial, and its updater is not heard of any more"));
        }
        let minutes = FIRST_WORD.as_secs() / 60;
        (uptime > FIRST_WORD)
            .then(|| format!("{version} is on trial, and its updater was not heard of in its first {minutes} minutes"))
    }
}

/// Where it says so.
pub fn file(config: &Config) -> PathBuf {
    config.directory.join(FILE)
}

fn of_this_boot(config: &Config) -> PathBuf {
    config.status.with_file_name(FILE)
}

/// What can't be read was said by nobody in this boot.
fn read(path: &Path) -> Option<Word> {
    let length = std::fs::metadata(path).ok()?.len();
    let bytes = if length > MAX_BYTES { Vec::new() } else { std::fs::read(path).unwrap_or_default() };
    let nobody = Word { good: String::new(), boot: String::new(), until: 0, restarted: false };
    Some(serde_json::from_slice(&bytes).unwrap_or(nobody))
}

fn write(path: &Path, word: &Word) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(word)
        .map_err(|error| Fault::new("disk-failed", Blame::Updater, format!("{}: {error}", path.display())))?;
    durable::replace(path, &bytes, 0o640)
}

/// Time since the box was started; no clock that is set changes it.
fn uptime() -> Result<Duration, Fault> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).map_err(|error| Fault::new("os-unknown", Blame::Box, format!("the uptime: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn running(version: &str, boot: &str) -> Running {
        Running { version: version.to_owned(), boot: boot.to_owned(), variant: None }
    }

    fn word() -> Word {
        Word { good: "1.0".to_owned(), boot: "new".to_owned(), until: 3600, restarted: false }
    }

    #[test]
    fn an_updater_that_keeps_its_word_is_left_alone_and_one_that_does_not_is_not() {
        assert_eq!(word().silent(&running("2.0", "new"), 59 * MINUTE), None);
        assert!(word().silent(&running("2.0", "new"), 61 * MINUTE).is_some_and(|why| why.contains("any more")));
    }

    #[test]
    fn a_system_that_was_just_started_has_its_time() {
        assert_eq!(word().silent(&running("2.0", "next"), FIRST_WORD), None);
        let late = FIRST_WORD + MINUTE;
        assert!(word().silent(&running("2.0", "next"), late).is_some_and(|why| why.contains("first 20 minutes")));
    }

    #[test]
    fn the_system_that_was_found_good_is_never_left_and_no_box_restarts_again_and_again() {
        assert_eq!(word().silent(&running("1.0", "next"), 1000 * MINUTE), None);
        let again = Word { restarted: true, ..word() };
        assert_eq!(again.silent(&running("2.0", "next"), 1000 * MINUTE), None);
        assert!(
            again.has_restarted("1.0", &running("2.0", "next")),
            "an updater that is up for a while changes nothing of that"
        );
        assert!(!again.has_restarted("1.0", &running("1.0", "next")), "another trial begins");
        assert!(!again.has_restarted("1.1", &running("2.0", "next")), "of another system");
    }
}
