//! Models that are switched off by a person or by the region, whatever the configuration says, until they are resumed. Kept in the
//! spool, so that it holds over a restart and works without the channel.
mod before;
mod region;

use super::Pipeline;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::limits::suspended::{MAX_NAME, MAX_REASON, MAX_SUSPENDED};
use crate::spool::{Batch, Spool, SpoolError, Table};
use before::Kept;
use region::Region;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use region::RegionSuspension;

/// Who switches models off, and on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `sund suspend`.
    Hand,
    /// An order at the console; the audit event before it has the name.
    Console,
    /// The updater, for the region.
    Channel,
    /// The updater, of its own: no state that is still approved can take the model's place.
    Updater,
}

/// By whose word a model is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The region's, which the updater has brought.
    Region,
    /// The updater's own.
    Updater,
    /// A person's, on this box.
    Person,
}

/// Where each model that is off stands, by whosever word: what an agent from before reads and writes.
const OFF: &str = "suspended/";

/// A model that is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
struct Suspension {
    package: String,
    reason: String,
    since: SystemTime,
    /// By whom; an agent from before has not kept it.
    by: Option<By>,
}

impl By {
    /// Whose order to switch a model off came by the channel. An updater from before does not say it.
    pub(crate) fn of_channel(said: Option<Holder>, reason: &str) -> Result<Self, Fault> {
        match said {
            Some(Holder::Region) => Ok(Self::Channel),
            Some(Holder::Updater) => Ok(Self::Updater),
            Some(Holder::Person) => {
                let reason = "no person suspends a model through the channel: `sund suspend` and the console do";
                Err(Fault::new("suspension-unclear", Blame::Peer, reason))
            }
            None => Ok(before::by(reason).unwrap_or(Self::Channel)),
        }
    }

    fn holder(self) -> Holder {
        match self {
            Self::Hand | Self::Console => Holder::Person,
            Self::Channel => Holder::Region,
            Self::Updater => Holder::Updater,
        }
    }

    /// As the audit trail has it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Hand => "a person on this box",
            Self::Console => "a person at the console",
            Self::Channel | Self::Updater => "the channel",
        }
    }
}

/// Whose word a suspension is. Both may stand at once, and neither takes the other's back: a region's outlives a person's, and a person's the
/// region's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Channel,
    Box,
}

impl By {
    fn side(self) -> Side {
        if self.holder() == Holder::Person { Side::Box } else { Side::Channel }
    }
}

impl Side {
    /// Where the spool keeps those of this side.
    fn keys(self) -> &'static str {
        match self {
            Self::Channel => "suspended-by-channel/",
            Self::Box => "suspended-by-person/",
        }
    }

    fn key(self, package: &str) -> String {
        format!("{}{package}", self.keys())
    }
}

impl Suspension {
    fn side(&self) -> Side {
        self.by.map_or(Side::Box, By::side)
    }

    /// By whose word. Of whom an agent from before has kept nothing was a person.
    fn holder(&self) -> Holder {
        self.by.map_or(Holder::Person, By::holder)
    }

    fn in_words(&self, has_channel: bool) -> String {
        let Self { package, reason, since, .. } = self;
        let since = humantime::format_rfc3339_seconds(*since);
        format!("{package} is suspended since {since}: {reason}. {}", self.way_back(has_channel))
    }

    /// How it is taken back.
    fn way_back(&self, has_channel: bool) -> String {
        let package = &self.package;
        match self.by {
            Some(By::Channel | By::Updater) if has_channel => format!(
                "The channel takes it back, once the region lifts it (`sund-channel resume {package}`) or has approved a state in its \
                 place; no person on this box does"
            ),
            Some(_) => {
                format!("A person takes it back: at the console (Resume), or by `sund resume {package}` on this box")
            }
            None => format!(
                "`sund resume {package}` or the console (Resume) takes it back, and where the region has suspended it, the region \
                 (`sund-channel resume {package}`)"
            ),
        }
    }
}

type All = BTreeMap<Side, BTreeMap<String, Suspension>>;

/// Those that are switched off, by whose word it is and by the names of their packages.
#[derive(Debug)]
pub(super) struct Suspended {
    all: Mutex<All>,
    region: Region,
    has_channel: bool,
}

impl Suspended {
    /// As the spool keeps them.
    pub(super) fn kept(spool: &Spool, has_channel: bool) -> Result<Self, SpoolError> {
        let off = spool.scan(Table::Meta, OFF)?;
        let sides = [Side::Channel, Side::Box].map(|side| Ok((side, spool.scan(Table::Meta, side.keys())?)));
        let sides = sides.into_iter().collect::<Result<Vec<_>, SpoolError>>()?;
        Ok(Self { all: Mutex::new(joined(off, sides)), region: Region::kept(spool)?, has_channel })
    }

    /// Why a version of a package does not run, and no job that began with it has an answer; `None` where it may.
    pub(super) fn fault(&self, package: &str, version: &str) -> Option<Fault> {
        self.off(package, version).map(|(fault, _)| fault)
    }

    /// The same, and by whose word, the channel's first. What is off by its name is so in every version.
    pub(super) fn off(&self, package: &str, version: &str) -> Option<(Fault, Vec<Holder>)> {
        let all = self.all();
        let off: Vec<&Suspension> = all.values().filter_map(|side| side.get(package)).collect();
        let mut said: Vec<String> = off.iter().map(|one| one.in_words(self.has_channel)).collect();
        let mut holders: Vec<Holder> = off.iter().map(|one| one.holder()).collect();
        // Where the channel has switched off the name as well, its word is told once.
        if let Some(region) = self.region.of(package, version).filter(|_| !holders.contains(&Holder::Region)) {
            said.insert(0, region.in_words(self.has_channel));
            holders.insert(0, Holder::Region);
        }
        let fault = || Fault::new("model-suspended", Blame::Configuration, said.join(". "));
        (!holders.is_empty()).then(|| (fault(), holders))
    }

    /// Whether it is off in some version, by whosever word.
    fn names(&self, package: &str) -> bool {
        self.region.names(package) || self.all().values().any(|side| side.contains_key(package))
    }

    /// Whose suspensions of a model, which serves in this version, are taken back where `by` asks. On a box that has left its channel nobody else
    /// is left to do that.
    fn taken_back(&self, package: &str, version: Option<&str>, by: By) -> Result<Vec<Side>, Fault> {
        let all = self.all();
        let of = |side: Side| all.get(&side).and_then(|all| all.get(package));
        let in_list = version.and_then(|version| self.region.of(package, version)).map(|one| one.reason);
        let channels = of(Side::Channel).map(|one| one.reason.clone()).or(in_list);
        if let (true, Some(said)) = (self.has_channel && by.side() == Side::Box, channels) {
            let reason = format!(
                "{package} is off by the region's word: {said}. No person on this box takes that back: ask the region to lift it \
                 (`sund-channel resume {package}`) or to approve a state in its place"
            );
            return Err(Fault::new("suspended-by-region", Blame::Peer, reason));
        }
        let asked: &[Side] = if by.side() == Side::Channel { &[Side::Channel] } else { &[Side::Channel, Side::Box] };
        Ok(asked.iter().copied().filter(|side| of(*side).is_some()).collect())
    }

    /// By what a model stays off where these sides take theirs back.
    fn left(&self, package: &str, sides: &[Side]) -> Option<Suspension> {
        let all = self.all();
        all.iter().filter(|(side, _)| !sides.contains(side)).find_map(|(_, all)| all.get(package).cloned())
    }

    /// What other sides say of it.
    fn beside(&self, package: &str, own: Side) -> Vec<(Side, Suspension)> {
        let all = self.all();
        let others = all.iter().filter(|(side, _)| **side != own);
        others.filter_map(|(side, all)| Some((*side, all.get(package)?.clone()))).collect()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is off, and by whose word. An agent from before may have run since, after a system that did not hold: what it has taken back is on, and
/// what it was told is told.
fn joined(off: Vec<Suspension>, sides: Vec<(Side, Vec<Suspension>)>) -> All {
    let is_off = |one: &Suspension| off.iter().any(|it| it.package == one.package);
    let of = |kept: Vec<Suspension>| kept.into_iter().filter(is_off).map(|one| (one.package.clone(), one)).collect();
    let mut all: All = sides.into_iter().map(|(side, kept)| (side, of(kept))).collect();
    for one in off {
        if all.values().all(|side| side.get(&one.package) != Some(&one)) {
            all.entry(one.side()).or_default().insert(one.package.clone(), one);
        }
    }
    all
}

impl Pipeline {
    /// Switches a model off, whatever is running: from the answer to this on, no job of it ends with a result.
    pub fn suspend(&self, package: &str, reason: &str, by: By) -> Result<(), Fault> {
        let is_name = (1..=MAX_NAME).contains(&package.len()) && !package.chars().any(char::is_control);
        let is_reason = !reason.trim().is_empty() && reason.chars().count() <= MAX_REASON;
        if !is_name || !is_reason {
            let reason = format!(
                "a suspension names a package, in at most {MAX_NAME} bytes, and a reason, in at most {MAX_REASON} characters"
            );
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        let (reason, since) = (reason.trim().to_owned(), SystemTime::now());
        let suspension = Suspension { package: package.to_owned(), reason, since, by: Some(by) };
        // A job that is being concluded ends first, or sees it.
        let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |all: &BTreeMap<_, _>| !all.contains_key(package) && all.len() >= MAX_SUSPENDED;
        if self.suspended.all().get(&by.side()).is_some_and(is_full) {
            let reason = format!("{MAX_SUSPENDED} models are suspended; resume those that are no longer used");
            return Err(Fault::new("suspension-unclear", Blame::Peer, reason));
        }
        let mut batch = Batch::new();
        batch.put(Table::Meta, &by.side().key(package), &suspension, None)?;
        batch.put(Table::Meta, &format!("{OFF}{package}"), &suspension, None)?;
        // One that an agent from before has kept stands nowhere else.
        for (side, one) in self.suspended.beside(package, by.side()) {
            batch.put(Table::Meta, &side.key(package), &one, None)?;
        }
        self.spool.write_blocking(batch)?;
        let reason = suspension.reason.clone();
        self.suspended.all().entry(by.side()).or_default().insert(package.to_owned(), suspension);
        drop(one_at_a_time);
        let (package, by) = (package.to_owned(), by.words());
        tracing::warn!(model = package, reason, by, "a model is suspended");
        self.recorder.audit(audit::Event::ModelSuspended { package, reason, by });
        self.recorder.changed();
        Ok(())
    }

    /// Takes a suspension back, where there is one. What the region has switched off no person switches on.
    pub fn resume(&self, package: &str, by: By) -> Result<(), Fault> {
        let set = self.serving_set();
        let serves = set.packages.iter().map(|serving| &serving.manifest).find(|manifest| manifest.name == package);
        let sides = self.suspended.taken_back(package, serves.map(|manifest| manifest.version.as_str()), by)?;
        if !self.suspended.has_channel && by.side() == Side::Box {
            self.resume_of_region(package, by)?;
        }
        if sides.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for side in &sides {
            batch.delete(Table::Meta, &side.key(package));
        }
        let left = self.suspended.left(package, &sides);
        match left {
            Some(left) => batch.put(Table::Meta, &format!("{OFF}{package}"), &left, None)?,
            None => batch.delete(Table::Meta, &format!("{OFF}{package}")),
        }
        self.spool.write_blocking(batch)?;
        for side in sides {
            self.suspended.all().entry(side).or_default().remove(package);
        }
        let by = by.words();
        tracing::warn!(model = package, by, "a model is resumed");
        self.recorder.audit(audit::Event::ModelResumed { package: package.to_owned(), by });
        self.recorder.changed();
        Ok(())
    }

    /// The fault of a person who names a model that is neither here nor suspended: a typing error would switch nothing off.
    pub fn knows_model(&self, package: &str) -> Result<(), Fault> {
        let set = self.serving_set();
        let known: Vec<&str> = set.packages.iter().map(|package| package.manifest.name.as_str()).collect();
        if known.contains(&package) || self.suspended.names(package) {
            return Ok(());
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let reason = format!("no model here has the name {package}; there are: {known}");
        Err(Fault::new("package-unknown", Blame::Peer, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::conclude::tests::pipeline;

    #[test]
    fn a_suspension_says_how_whoever_made_it_takes_it_back() {
        let back = |by, has_channel| {
            let reason = "drift".to_owned();
            Suspension { package: "brain".to_owned(), reason, since: SystemTime::UNIX_EPOCH, by }.way_back(has_channel)
        };
        let way_back = |by| back(by, true);
        for by in [By::Hand, By::Console] {
            let told = way_back(Some(by));
            assert!(told.contains("`sund resume brain`") && told.contains("console"), "{told}");
            assert!(!told.contains("region"), "{told}");
        }
        let told = way_back(Some(By::Channel));
        assert!(told.contains("`sund-channel resume brain`") && told.contains("no person on this box"), "{told}");
        assert!(!told.contains("`sund resume"), "it would be refused: {told}");
        assert!(back(Some(By::Channel), false).contains("`sund resume brain`"), "the box has left its channel");
        let told = way_back(None);
        assert!(told.contains("`sund resume brain`") && told.contains("`sund-channel resume brain`"), "{told}");
    }

    fn suspension(reason: &str, by: Option<By>) -> Suspension {
        Suspension { package: "brain".to_owned(), reason: reason.to_owned(), since: SystemTime::UNIX_EPOCH, by }
    }

    /// An agent from before has kept one under one key; the other side's takes its place there.
    #[test]
    fn what_an_older_agent_has_kept_outlives_the_other_sides_word_and_a_restart() {
        for (kept, by) in [("odd", By::Channel), ("suspended by the region: drift", By::Hand)] {
            let folder = tempfile::tempdir().unwrap();
            let mut batch = Batch::new();
            batch.put(Table::Meta, "suspended/brain", &suspension(kept, None), None).unwrap();
            pipeline(folder.path()).spool.write_blocking(batch).unwrap();
            pipeline(folder.path()).suspend("brain", "not now", by).unwrap();
            let begun_anew = pipeline(folder.path());
            assert_eq!(sides(&begun_anew.suspended.all()), [Side::Channel, Side::Box], "{kept}");
            begun_anew.resume("brain", By::Channel).unwrap();
            drop(begun_anew);
            let begun_anew = pipeline(folder.path());
            assert_eq!(sides(&begun_anew.suspended.all()), [Side::Box], "{kept}");
            begun_anew.resume("brain", By::Hand).unwrap();
            drop(begun_anew);
            assert!(pipeline(folder.path()).suspended.fault("brain", "1.0.0").is_none(), "{kept}");
        }
    }

    #[test]
    fn who_holds_a_model_off_is_told_whatever_the_reasons_say_also_after_a_restart() {
        let (region, updater) =
            ("suspended by the region: they said so", "no state that is still approved can take its place");
        for (channel, holder) in [(By::Channel, Holder::Region), (By::Updater, Holder::Updater)] {
            for (by_person, by_channel) in [(region, "odd"), (updater, "odd"), ("odd", region), ("odd", updater)] {
                let folder = tempfile::tempdir().unwrap();
                let holders =
                    |pipeline: &Pipeline| pipeline.suspended.off("brain", "1.0.0").map(|(_, holders)| holders);
                let begun = pipeline(folder.path());
                assert_eq!(holders(&begun), None);
                begun.suspend("brain", by_person, By::Console).unwrap();
                assert_eq!(holders(&begun), Some(vec![Holder::Person]), "{by_person}");
                begun.suspend("brain", by_channel, channel).unwrap();
                drop(begun);
                let begun = pipeline(folder.path());
                assert_eq!(holders(&begun), Some(vec![holder, Holder::Person]), "{by_person}; {by_channel}");
                begun.resume("brain", By::Channel).unwrap();
                assert_eq!(holders(&begun), Some(vec![Holder::Person]), "{by_person}; {by_channel}");
            }
        }
    }

    #[test]
    fn of_an_order_that_comes_by_the_channel_an_older_updaters_reason_alone_says_whose_word_it_is() {
        let of = |said, reason| By::of_channel(said, reason).map_err(|fault| fault.code.into_owned());
        assert_eq!(of(None, "suspended by the region: drift"), Ok(By::Channel));
        assert_eq!(of(None, "no state that is still approved can take its place"), Ok(By::Updater));
        assert_eq!(of(None, "drift"), Ok(By::Channel), "it is the channel's all the same");
        assert_eq!(of(Some(Holder::Region), "no state that is still approved can take its place"), Ok(By::Channel));
        assert_eq!(of(Some(Holder::Updater), "suspended by the region: drift"), Ok(By::Updater));
        assert_eq!(of(Some(Holder::Person), "drift"), Err("suspension-unclear".to_owned()));
    }

    /// It knows no updater's own word, and no model of its would be off, nor any other thing of the spool be read.
    #[test]
    fn an_older_agent_reads_what_is_kept_of_each() {
        let kept = |by| serde_json::to_value(suspension("drift", Some(by))).unwrap()["by"].clone();
        for (by, older) in
            [(By::Hand, "hand"), (By::Console, "console"), (By::Channel, "channel"), (By::Updater, "channel")]
        {
            assert_eq!(kept(by), older);
        }
    }

    fn sides(all: &All) -> Vec<Side> {
        all.iter().filter(|(_, all)| all.contains_key("brain")).map(|(side, _)| *side).collect()
    }

    #[test]
    fn a_suspension_that_an_older_agent_has_kept_is_read_as_whose_word_it_is() {
        let (region, updater) =
            ("suspended by the region: drift", "no state that is still approved can take its place");
        for (reason, by, read) in [
            (region, None, Some(By::Channel)),
            (region, Some("channel"), Some(By::Channel)),
            (updater, None, Some(By::Updater)),
            (updater, Some("channel"), Some(By::Updater)),
            ("drift", Some("channel"), Some(By::Channel)),
            ("drift", None, None),
            (region, Some("hand"), Some(By::Hand)),
        ] {
            let kept = kept_before(reason, by);
            assert_eq!(kept.by, read, "{reason}, {by:?}");
            let side = read.map_or(Side::Box, By::side);
            assert_eq!(sides(&joined(vec![kept], Vec::new())), [side], "{reason}, {by:?}");
        }
    }

    fn kept_before(reason: &str, by: Option<&str>) -> Suspension {
        let mut kept = serde_json::json!({
            "package": "brain", "reason": reason, "since": { "secs_since_epoch": 1, "nanos_since_epoch": 0 },
        });
        if let Some(by) = by {
            kept["by"] = by.into();
        }
        serde_json::from_value(kept).unwrap()
    }

    #[test]
    fn what_an_older_agent_has_taken_back_or_was_told_meanwhile_counts() {
        let (region, person) = (suspension("drift", Some(By::Channel)), suspension("odd", Some(By::Hand)));
        let both = || vec![(Side::Channel, vec![region.clone()]), (Side::Box, vec![person.clone()])];
        assert_eq!(sides(&joined(vec![person.clone()], both())), [Side::Channel, Side::Box]);
        assert_eq!(sides(&joined(Vec::new(), both())), [], "it took them back");
        let told = kept_before("suspended by the region: drift", None);
        let all = joined(vec![told], vec![(Side::Channel, Vec::new()), (Side::Box, vec![person])]);
        assert_eq!(sides(&all), [Side::Channel, Side::Box], "the region has suspended it since");
    }
}
