//! Proposals: show, sign, approve, discard.
use super::{Answer, Exit, rescue};
use crate::enrol::dropping;
use crate::enrol::standing::Lost;
use crate::repository::files;
use crate::repository::keys::{KeyPlace, PublicKey, Signer, fingerprint, key_id};
use crate::repository::rescue::{Offer, Payload};
use crate::repository::{self, Approval, Home, Kept, Proposal, SignatureFile, Standing, describe, plain};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Name of a proposal, or the directory of a copied one.
    proposal: String,
}

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// Name of a proposal, or the directory of a copied one.
    proposal: String,
    /// The private key: a file, or a key in a token
    /// (`pkcs11:token=LABEL;object=LABEL?module-path=FILE&pin-source=file:FILE`).
    #[arg(long, required_unless_present = "public_key")]
    pub(super) key: Option<KeyPlace>,
    /// Where the signature file goes; into the proposal otherwise.
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Asks nothing: what is signed has been read before.
    #[arg(long)]
    pub(super) yes: bool,
    /// Signs what has this fingerprint, as `show` told it, and nothing else.
    #[arg(long)]
    pub(super) fingerprint: Option<String>,
    /// Signs also where this key knows a newer version of a role, or another one of the same number: the others have said why.
    #[arg(long)]
    anew: bool,
    /// FILE.pub of a key that lives in a token.
    #[arg(long, conflicts_with = "key")]
    public_key: Option<PathBuf>,
    /// Writes ROLE.message here for the token to sign.
    #[arg(long, requires = "public_key", conflicts_with = "signatures")]
    write_messages: Option<PathBuf>,
    /// Takes ROLE.sig from here, which the token has made.
    #[arg(long, requires = "public_key")]
    signatures: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Name of the proposal.
    proposal: String,
    /// Signature files from other machines.
    signatures: Vec<PathBuf>,
    /// Goes on where the proposal drops an authority of the channel and cuts off so many boxes and mirrors by it, or fewer.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    cut_off: u64,
}

/// How a proposal stands, and whom it has cut off where it dropped an authority of the channel.
#[derive(Serialize)]
struct Approved {
    #[serde(flatten)]
    approval: Approval,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Lost>,
}

pub(super) fn list(home: &Home) -> Result<Answer, Fault> {
    let (mut lines, mut all) = (Vec::new(), Vec::new());
    for id in repository::waiting(home)? {
        // One that cannot be read keeps no other one from being seen: it can be thrown away.
        match reason_of(home, &id) {
            Ok((reason, made)) => {
                lines.push(format!("{id}: {reason}"));
                all.push(json!({ "proposal": id, "reason": reason, "made": made }));
            }
            Err(fault) => {
                lines.push(format!("{id}: CANNOT BE READ: {}", plain(&fault.reason)));
                all.push(json!({ "proposal": id, "error": fault }));
            }
        }
    }
    if lines.is_empty() {
        lines.push("no proposal waits".to_owned());
    }
    Ok(Answer::new(lines, json!({ "proposals": all })))
}

/// Why a proposal was made, and when.
fn reason_of(home: &Home, id: &str) -> Result<(String, String), Fault> {
    if Offer::is_at(&home.proposals().join(id)) {
        let Payload { bundle, time, .. } = Offer::open(home, id)?.payload;
        return Ok((format!("the recovery bundle is {}", bundle.path), time.to_string()));
    }
    let cover = Proposal::open(home, id)?.cover;
    Ok((cover.reason, cover.made))
}

pub(super) fn show(directory: &Path, named: &Named) -> Result<Answer, Fault> {
    if let Some(offer) = rescue::find(directory, &named.proposal)? {
        return Ok(rescue::shown(&offer));
    }
    let proposal = find(directory, &named.proposal)?;
    let standing = proposal.standing()?;
    let mut lines = told(&proposal)?;
    lines.extend(standing.iter().map(counted));
    let json = json!({
        "proposal": proposal.cover.id,
        "reason": proposal.cover.reason,
        "made": proposal.cover.made,
        "fingerprint": proposal.fingerprint()?,
        "words": describe(&proposal)?,
        "standing": standing,
    });
    Ok(Answer::new(lines, json))
}

pub(super) fn sign(directory: &Path, it: &Sign) -> Result<Answer, Fault> {
    if let Some(offer) = rescue::find(directory, &it.proposal)? {
        return rescue::sign(&offer, it);
    }
    let proposal = find(directory, &it.proposal)?;
    let signer = it.key.as_ref().map(KeyPlace::open).transpose()?;
    let kept = match (&it.key, &signer, &it.public_key) {
        (Some(key), Some(signer), _) => Kept::of(key, signer.as_ref())?,
        (_, _, public) => Kept::beside(public.as_deref().unwrap_or(Path::new(""))),
    };
    kept.check_root(&proposal)?;
    let doubts = kept.doubts(&proposal)?;
    if let Some(doubt) = doubts.first().filter(|_| !it.anew) {
        return Err(doubt.clone());
    }
    check_fingerprint(it, &proposal.fingerprint()?)?;
    // Whichever way it is signed, and whether anybody is asked: what cannot be told is not signed.
    let mut words = told(&proposal)?;
    words.extend(kept.unknown(&proposal)?.iter().map(|role| {
        format!("this key knows no earlier version of {role}: another approver says which one is published")
    }));
    words.extend(doubts.iter().map(|doubt| format!("SIGNED ANEW: {}", doubt.reason)));
    if let (Some(public), Some(into)) = (&it.public_key, &it.write_messages) {
        let written = repository::messages(&proposal, &PublicKey::read(public)?, into)?;
        let mut lines = words;
        lines.extend(written.iter().map(|path| format!("let the token sign {}", path.display())));
        lines.push(format!("next: `sund-channel sign {} --public-key ... --signatures ...`", it.proposal));
        return Ok(Answer::new(lines, json!({ "messages": written })));
    }
    let file = match (&it.public_key, &it.signatures, &signer) {
        (Some(public), Some(from), _) => repository::enclose(&proposal, &PublicKey::read(public)?, from)?,
        (None, _, Some(signer)) => {
            if !it.yes {
                consent(&proposal, &words, signer.as_ref())?;
            }
            repository::signature_file(&proposal, signer.as_ref())?
        }
        _ => {
            let reason = "a key in a token signs in two steps: --write-messages DIR, then --signatures DIR";
            return Err(Fault::new("usage", Blame::Configuration, reason));
        }
    };
    kept.keep(&proposal, &file)?;
    let path = it.out.clone().unwrap_or_else(|| file.place(&proposal.directory));
    files::write(&path, &serde_json::to_vec_pretty(&file).unwrap_or_default(), 0o644)?;
    let told = if it.signatures.is_some() { words } else { Vec::new() };
    Ok(signed(&proposal, &file, &path, told))
}

pub(super) fn approve(directory: &Path, it: &Approve) -> Result<Answer, Fault> {
    let (home, id) = (Home::open(directory)?, &it.proposal);
    let mut lost = None;
    let approval = if Offer::is_at(&home.proposals().join(id)) {
        repository::rescue::approve(&home, id, &it.signatures)?
    } else {
        repository::approve(&home, id, &it.signatures, |proposal| {
            lost = dropping::check(directory, proposal, it.cut_off)?;
            Ok(())
        })?
    };
    let mut lines: Vec<String> = approval.standing.iter().map(counted).collect();
    let (ending, exit) = if approval.is_published {
        ("is published", Exit::Ok)
    } else {
        ("waits: nothing is published yet", Exit::Waiting)
    };
    lines.push(format!("{id} {ending}"));
    let cut_off = lost.iter().filter(|lost| lost.boxes > 0);
    lines.extend(cut_off.map(|lost| format!("CUT OFF, until a stick comes to each: {}", lost.told())));
    Ok(Answer::new(lines, Approved { approval, lost }).exits(exit))
}

pub(super) fn discard(home: &Home, named: &Named) -> Result<Answer, Fault> {
    repository::discard(home, &named.proposal)?;
    Ok(Answer::new(vec![format!("{} is thrown away", named.proposal)], json!({ "discarded": named.proposal })))
}

/// A proposal by its name in the channel's home, or a directory that was copied to this machine.
fn find(home: &Path, named: &str) -> Result<Proposal, Fault> {
    let copied = Path::new(named);
    if copied.join("proposal.json").is_file() {
        return Proposal::read(copied);
    }
    match Home::open(home) {
        Ok(home) => Proposal::open(&home, named),
        Err(fault) => {
            let reason = format!("`{named}` is no directory of a proposal, and: {}", fault.reason);
            Err(Fault::new("proposal-not-found", Blame::Configuration, reason))
        }
    }
}

fn told(proposal: &Proposal) -> Result<Vec<String>, Fault> {
    let cover = &proposal.cover;
    let mut lines = vec![plain(&format!("proposal {} of {}: {}", cover.id, cover.made, cover.reason))];
    lines.extend(describe(proposal)?);
    lines.push(format!("fingerprint: {}", proposal.fingerprint()?));
    Ok(lines)
}

fn counted(standing: &Standing) -> String {
    let names = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let (role, signed) = (&standing.role, names(&standing.signed));
    let missing = standing.threshold.saturating_sub(standing.signed.len() as u64);
    let rest = match missing {
        0 => "enough".to_owned(),
        missing => format!("{missing} more of: {}", names(&standing.open)),
    };
    format!("{role} {}, by {}: signed by {signed}; {rest}", standing.version, standing.said_by)
}

/// Holds what is to be signed to the fingerprint that was read.
pub(super) fn check_fingerprint(it: &Sign, fingerprint: &str) -> Result<(), Fault> {
    let letters = |text: &str| text.to_lowercase().split_whitespace().collect::<String>();
    match &it.fingerprint {
        Some(read) if letters(read) != letters(fingerprint) => {
            let reason = format!(
                "the fingerprint of {} is {fingerprint}, not the one that was read: it was changed since; read it again (`show`)",
                it.proposal
            );
            Err(Fault::new("fingerprint-differs", Blame::Region, reason))
        }
        _ => Ok(()),
    }
}

/// Shows what would be signed, and asks.
fn consent(proposal: &Proposal, words: &[String], signer: &dyn Signer) -> Result<(), Fault> {
    let id = hex(key_id(&signer.key())?.as_ref());
    ask(words, proposal.people()?.person(&id).unwrap_or("a person who is not named"), &id)
}

/// Shows what would be signed, and asks whoever sits at the terminal.
pub(super) fn ask(told: &[String], person: &str, id: &str) -> Result<(), Fault> {
    let mut out = std::io::stderr();
    for line in told {
        // Standard error may be closed; the answer decides.
        let _ = writeln!(out, "{line}");
    }
    let _ = write!(out, "Sign this as {person}, key {}? Type yes: ", fingerprint(id));
    let mut answer = String::new();
    if std::io::stdin().is_terminal() {
        let _ = std::io::stdin().lock().read_line(&mut answer);
    }
    if answer.trim() == "yes" {
        return Ok(());
    }
    let reason = "nothing is signed: answer yes at a terminal, or read it with `show` and sign with --yes";
    Err(Fault::new("not-signed", Blame::Configuration, reason))
}

fn signed(proposal: &Proposal, file: &SignatureFile, path: &Path, told: Vec<String>) -> Answer {
    let roles: Vec<&String> = file.signatures.keys().collect();
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let mut lines = told;
    lines.push(format!("signed {} of {}: {}", names.join(", "), proposal.cover.id, path.display()));
    let (id, path_shown) = (&proposal.cover.id, path.display());
    lines.push(format!("next: `sund-channel approve {id} {path_shown}` at the channel's home"));
    Answer::new(lines, json!({ "proposal": proposal.cover.id, "roles": roles, "file": path }))
}
