//! Models that are switched off by a person or by the region, whatever the configuration says, until they are resumed. Kept in the
//! spool, so that it holds over a restart and works without the channel.
use super::Pipeline;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::limits::suspended::{MAX_NAME, MAX_REASON, MAX_SUSPENDED};
use crate::spool::{Batch, Spool, SpoolError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Who switches models off, and on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// `sund suspend`.
    Hand,
    /// An order at the console; the audit event before it has the name.
    Console,
    /// The updater, for the region.
    Channel,
}

/// Where each model that is off stands, by whosever word: what an agent from before reads and writes.
const OFF: &str = "suspended/";
/// How an updater from before has said that it is the region's word, or its own.
const OF_CHANNEL: [&str; 2] = ["suspended by the region: ", "no state that is still approved can take its place"];

/// A model that is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Suspension {
    package: String,
    reason: String,
    since: SystemTime,
    /// By whom; an agent from before has not kept it.
    #[serde(default)]
    by: Option<By>,
}

impl By {
    /// As the audit trail has it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Hand => "a person on this box",
            Self::Console => "a person at the console",
            Self::Channel => "the channel",
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
        if self == Self::Channel { Side::Channel } else { Side::Box }
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
    /// With whose word it is, which an agent from before has not kept.
    fn known(self) -> Self {
        let by = match self.by {
            None if OF_CHANNEL.iter().any(|said| self.reason.starts_with(said)) => Some(By::Channel),
            by => by,
        };
        Self { by, ..self }
    }

    fn side(&self) -> Side {
        self.by.map_or(Side::Box, By::side)
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
            Some(By::Channel) if has_channel => format!(
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
    has_channel: bool,
}

impl Suspended {
    /// As the spool keeps them.
    pub(super) fn kept(spool: &Spool, has_channel: bool) -> Result<Self, SpoolError> {
        let off = spool.scan(Table::Meta, OFF)?;
        let sides = [Side::Channel, Side::Box].map(|side| Ok((side, spool.scan(Table::Meta, side.keys())?)));
        let sides = sides.into_iter().collect::<Result<Vec<_>, SpoolError>>()?;
        Ok(Self { all: Mutex::new(joined(off, sides)), has_channel })
    }

    /// Why a model does not run; `None` where it may.
    pub(super) fn fault(&self, package: &str) -> Option<Fault> {
        let all = self.all();
        let said = all.values().filter_map(|side| side.get(package)).map(|one| one.in_words(self.has_channel));
        let said = said.collect::<Vec<_>>().join(". ");
        (!said.is_empty()).then(|| Fault::new("model-suspended", Blame::Configuration, said))
    }

    /// Whose suspensions of a model are taken back where `by` asks. On a box that has left its channel nobody else is left to do that.
    fn taken_back(&self, package: &str, by: By) -> Result<Vec<Side>, Fault> {
        let all = self.all();
        let of = |side: Side| all.get(&side).and_then(|all| all.get(package));
        if let (true, Some(suspension)) = (self.has_channel && by != By::Channel, of(Side::Channel)) {
            let reason = format!(
                "{package} is off by the region's word: {}. No person on this box takes that back: ask the region to lift it \
                 (`sund-channel resume {package}`) or to approve a state in its place",
                suspension.reason
            );
            return Err(Fault::new("suspended-by-region", Blame::Peer, reason));
        }
        let asked: &[Side] = if by == By::Channel { &[Side::Channel] } else { &[Side::Channel, Side::Box] };
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
            let one = one.known();
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
        // Such a one would be taken for the region's, and the region's not be kept beside it.
        if by.side() == Side::Box && OF_CHANNEL.iter().any(|said| reason.contains(said.trim())) {
            let reason = "that reason is the region's own word: say it otherwise";
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
        let sides = self.suspended.taken_back(package, by)?;
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
        if known.contains(&package) || self.suspended.fault(package).is_some() {
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
            assert!(pipeline(folder.path()).suspended.fault("brain").is_none(), "{kept}");
        }
    }

    #[test]
    fn a_person_does_not_take_the_regions_words() {
        let folder = tempfile::tempdir().unwrap();
        let refused = pipeline(folder.path()).suspend("brain", "suspended by the region: x", By::Console);
        assert_eq!(refused.unwrap_err().code, "suspension-unclear");
    }

    fn sides(all: &All) -> Vec<Side> {
        all.iter().filter(|(_, all)| all.contains_key("brain")).map(|(side, _)| *side).collect()
    }

    #[test]
    fn a_suspension_that_an_older_agent_has_kept_is_read_as_whose_word_it_is() {
        let kept = |reason: &str| {
            let kept = serde_json::json!({
                "package": "brain", "reason": reason, "since": { "secs_since_epoch": 1, "nanos_since_epoch": 0 },
            });
            serde_json::from_value::<Suspension>(kept).unwrap()
        };
        for reason in ["suspended by the region: drift", OF_CHANNEL[1]] {
            let all = joined(vec![kept(reason)], Vec::new());
            assert_eq!(sides(&all), [Side::Channel], "{reason}");
            assert_eq!(all[&Side::Channel]["brain"].by, Some(By::Channel));
        }
        assert_eq!(sides(&joined(vec![kept("drift")], Vec::new())), [Side::Box]);
    }

    #[test]
    fn what_an_older_agent_has_taken_back_or_was_told_meanwhile_counts() {
        let (region, person) = (suspension("drift", Some(By::Channel)), suspension("odd", Some(By::Hand)));
        let both = || vec![(Side::Channel, vec![region.clone()]), (Side::Box, vec![person.clone()])];
        assert_eq!(sides(&joined(vec![person.clone()], both())), [Side::Channel, Side::Box]);
        assert_eq!(sides(&joined(Vec::new(), both())), [], "it took them back");
        let told = suspension("suspended by the region: drift", None);
        let all = joined(vec![told], vec![(Side::Channel, Vec::new()), (Side::Box, vec![person])]);
        assert_eq!(sides(&all), [Side::Channel, Side::Box], "the region has suspended it since");
    }
}
