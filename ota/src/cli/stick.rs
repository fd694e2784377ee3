//! `install` of what was put into the box: nobody is there who types, and nobody waits for the end. The bundle goes into the inbox of the
//! updater that runs, and the stick can be taken out.
use super::install::under_way;
use super::run::failed;
use crate::bundle::stick::{Taken, find};
use crate::config::Config;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::machine::record::{Action, Origin, Record};
use crate::{durable, release, stick};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Places {
    /// Of a stick: where the box's screen finds what became of it.
    #[arg(long, default_value = stick::SAID)]
    said: PathBuf,
    /// Of a stick: which boot this is.
    #[arg(long, default_value = "/proc/sys/kernel/random/boot_id")]
    boot: PathBuf,
}

/// A box that is nobody's yet believes no region.
pub(super) fn nobodys(places: &Places) {
    stick::say(&places.said, "this box is nobody's yet: bring its bundle once it is its region's");
}

pub(super) async fn take(config: Config, directory: &Path, places: &Places) -> Exit {
    match taken(&config, directory, &places.boot).await {
        Ok(Some(told)) => {
            stick::say(&places.said, &told);
            eprintln!("{told}");
            Exit::Done
        }
        Ok(None) => {
            eprintln!("this bundle was taken before this start: what became of it stands in `sund-updater status`");
            Exit::Done
        }
        Err(fault) => {
            tracing::warn!(target: "audit", code = %fault.code, blame = ?fault.blame, reason = fault.reason, "a bundle on a stick was not taken");
            stick::say(&places.said, &fault.to_string());
            failed(&fault)
        }
    }
}

/// What is said of a bundle that was taken; nothing of one that stayed in the box over a restart.
async fn taken(config: &Config, directory: &Path, boot: &Path) -> Result<Option<String>, Fault> {
    let bundle = find(directory)?;
    let remembered = config.directory.join("stick.json");
    let it = Taken::of(&bundle, release::text(boot)?.trim())?;
    let has_stayed = Taken::read(&remembered).is_some_and(|before| it.has_stayed_since(&before));
    // Before the updater has it: what it does then may restart the box.
    it.keep(&remembered)?;
    let name = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Record { action, last, .. } = Record::read(&config.record_file())?;
    if has_stayed {
        let is_known = action.iter().chain(&last).any(|action| action.origin == Origin::Stick);
        let told = || format!("{name} was in the box before this start: put the stick in once more to have it taken");
        return Ok((!is_known).then(told));
    }
    let refusal = action.filter(Action::is_under_way).map(|action| under_way(&action));
    let placed = match config.inbox().place(&bundle, refusal).await {
        Ok(placed) => placed,
        Err(fault) => {
            // It was not taken.
            durable::remove(&remembered)?;
            return Err(fault);
        }
    };
    tracing::info!(target: "audit", name, id = placed.waiting.id, "a bundle was taken from a stick");
    Ok(Some(format!("{name} is on this box, which takes it up by itself: the stick can be taken out")))
}
