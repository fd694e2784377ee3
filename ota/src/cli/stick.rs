//! `install` of what was put into the box: nobody is there who types, and nobody waits for the end. The bundle goes into the inbox of the
//! updater that runs, and the stick can be taken out.
use super::install::under_way;
use super::run::failed;
use crate::bundle::stick::{Taken, find};
use crate::config::Config;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::machine::record::{Action, Origin, Record};
use crate::status::ActionStatus;
use crate::{durable, provision, release, stick};
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

/// A box that is nobody's yet believes no region. Of a stick that was to make it its region's, it is said already why it is not.
pub(super) fn nobodys(directory: &Path, places: &Places) {
    if !directory.join(provision::FILE).exists() {
        stick::say(&places.said, "this box is nobody's yet: bring its bundle once it is its region's");
    }
}

pub(super) async fn take(config: Config, directory: &Path, places: &Places) -> Exit {
    match taken(&config, directory, &places.boot).await {
        Ok(told) => {
            stick::say_of_bundle(&places.said, directory, &told);
            eprintln!("{told}");
            Exit::Done
        }
        Err(fault) => {
            tracing::warn!(target: "audit", code = %fault.code, blame = ?fault.blame, reason = fault.reason, "a bundle on a stick was not taken");
            stick::say_of_bundle(&places.said, directory, &fault.to_string());
            failed(&fault)
        }
    }
}

/// What is said of a bundle that was taken, now or before.
async fn taken(config: &Config, directory: &Path, boot: &Path) -> Result<String, Fault> {
    let bundle = find(directory)?;
    let remembered = config.directory.join("stick.json");
    let it = Taken::of(&bundle, release::text(boot)?.trim())?;
    let name = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(before) = Taken::read(&remembered).filter(|before| it.has_stayed_since(before)) {
        it.taken_as(&before).keep(&remembered)?;
        return stayed(config, &name, &before);
    }
    // Before the updater has it: what it does then may restart the box.
    it.keep(&remembered)?;
    let action = Record::read(&config.record_file())?.action;
    let refusal = action.filter(Action::is_under_way).map(|action| under_way(&action));
    let placed = match config.inbox().place(&bundle, refusal).await {
        Ok(placed) => placed,
        Err(fault) => {
            // It was not taken.
            durable::remove(&remembered)?;
            return Err(fault);
        }
    };
    // One that waited there already, to the byte, was brought before.
    it.brought_as(&placed.waiting.id).keep(&remembered)?;
    tracing::info!(target: "audit", name, id = placed.waiting.id, "a bundle was taken from a stick");
    Ok(is_here(&name))
}

fn is_here(name: &str) -> String {
    format!("{name} is on this box, which takes it up by itself: the stick can be taken out")
}

/// What is said of a bundle that stayed in the box over a restart, or was put in again after one. That its copy came to its end is known by what
/// was brought since.
fn stayed(config: &Config, name: &str, before: &Taken) -> Result<String, Fault> {
    let Record { action, last, .. } = Record::read(&config.record_file())?;
    let is_it = |action: &&Action| action.origin == Origin::Stick && before.may_be(&action.id);
    if let Some(action) = action.iter().chain(&last).find(is_it) {
        let became = ActionStatus::of(action).in_words();
        return Ok(format!("{name} was taken before this start; put in once more it is taken again. {became}"));
    }
    if config.inbox().waiting().is_some_and(|waiting| before.may_be(&waiting.id)) {
        return Ok(is_here(name));
    }
    Ok(format!("{name} was in the box before this start: put the stick in once more to have it taken"))
}
