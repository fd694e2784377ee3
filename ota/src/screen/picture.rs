//! From what is known to what is shown: 24 lines of at most 80 characters.
use super::qr;

/// Lines and columns of the plainest screen; its last line stays free, so that nothing ever scrolls.
pub const ROWS: usize = 24;
/// See [`ROWS`].
pub const COLUMNS: usize = 80;
/// Columns of what is said; the code stands beside it.
const LEFT: usize = 41;
/// Columns of a name.
const NAME: usize = 11;
/// Lines above the first fact.
const HEAD: usize = 2;
/// What is said of a box that starts anything, in the lines that a fact has.
const UNSECURED: &str = "SECURE BOOT IS OFF: the box starts any system, and its disk may open to it";
/// Lines that one fact takes at most.
const MAX_LINES: usize = 3;

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// How far the box is.
    pub stage: Stage,
    /// Its name in the network.
    pub host: String,
    /// What is unusual about its system and has to be seen, e.g. that it is a debug variant.
    pub variant: Option<String>,
    /// Secure Boot was off when it started.
    pub starts_anything: bool,
    /// Its networks and their addresses.
    pub networks: Vec<(String, Vec<String>)>,
    /// Names and versions of what runs.
    pub versions: Vec<(String, String)>,
    /// AE title and ports of the DICOM node.
    pub node: Option<String>,
    /// How the agent is.
    pub agent: String,
    /// How the channel is.
    pub channel: String,
    /// What an update does.
    pub update: String,
    /// How the recovery key of the disk stands with the region, where it is to have it.
    pub recovery: Option<String>,
    /// Why this box could not be rescued, where that is known.
    pub rescue: Option<String>,
    /// What became of the region's stick.
    pub stick: Option<String>,
    /// Name of the box at the channel.
    pub id: Option<String>,
    /// SHA-256 of the console's certificate, in hexadecimal.
    pub fingerprint: Option<String>,
}

/// How far the box is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nobody's yet.
    #[default]
    New,
    /// It has a configuration, and no certificate that is good.
    NeedsCode {
        /// What is the matter with it.
        why: String,
        /// What was typed.
        typed: String,
        /// What became of the last code.
        said: String,
    },
    /// It is who it is.
    Enrolled,
    /// Its configuration cannot be used.
    Unusable(String),
}

/// Draws it.
pub fn draw(picture: &Picture) -> String {
    let code = match (&picture.id, &picture.fingerprint) {
        (Some(id), Some(fingerprint)) => {
            let text = format!("SUND:{}:{}", id.to_ascii_uppercase(), fingerprint.to_ascii_uppercase());
            qr::lines(&text, ROWS - HEAD, COLUMNS - LEFT - 1)
        }
        _ => Vec::new(),
    };
    // What somebody in front of it has to do is never pushed off the screen.
    let asked = asked(picture);
    let mut left = facts(picture);
    left.truncate((ROWS - HEAD).saturating_sub(asked.len()));
    left.extend(asked);
    let mut lines = vec![head(picture), "─".repeat(COLUMNS)];
    for n in 0..ROWS - HEAD {
        let said = left.get(n).map(|line| cut(line, LEFT)).unwrap_or_default();
        let line = format!("{said:LEFT$} {}", code.get(n).map_or("", String::as_str));
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

/// Names and what is known of them.
fn facts(picture: &Picture) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: &str| {
        let name = cut(&plain(name), NAME - 1);
        for (n, line) in wrapped(&plain(value), LEFT - NAME - 1).iter().take(MAX_LINES).enumerate() {
            lines.push(format!("{:NAME$}{line}", if n == 0 { name.as_str() } else { "" }));
        }
    };
    // Before all that may be many lines.
    if picture.starts_anything {
        fact("start", UNSECURED);
    }
    for (name, addresses) in &picture.networks {
        fact(name, &addresses.join(" "));
    }
    picture.versions.iter().for_each(|(name, version)| fact(name, version));
    fact("DICOM", picture.node.as_deref().unwrap_or("not configured"));
    fact("agent", &picture.agent);
    fact("channel", &picture.channel);
    fact("update", &picture.update);
    picture.recovery.iter().for_each(|recovery| fact("disk key", recovery));
    picture.rescue.iter().for_each(|rescue| fact("rescue", rescue));
    lines
}

/// What is to be done, and what is to be compared.
fn asked(picture: &Picture) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut say = |text: &str| {
        lines.extend(wrapped(&plain(text), LEFT - 1).into_iter().filter(|line| !line.is_empty()).take(2 * MAX_LINES));
    };
    picture.stick.iter().for_each(|said| say(&format!("The stick: {said}")));
    match &picture.stage {
        Stage::New => say("This box is nobody's yet. Put in the stick of its region (label SUND)."),
        Stage::Unusable(reason) => say(reason),
        Stage::NeedsCode { why, typed, said } => {
            say(&format!("{why} Type its one-time code, then Enter:"));
            say(&format!("> {typed}_"));
            say(said);
        }
        Stage::Enrolled => {}
    }
    if let Some(fingerprint) = &picture.fingerprint {
        say("console's certificate (SHA-256):");
        for half in [fingerprint.get(..32), fingerprint.get(32..64)].into_iter().flatten() {
            let groups: Vec<&str> = (0..8).filter_map(|n| half.get(n * 4..n * 4 + 4)).collect();
            say(&groups.join(" "));
        }
    }
    lines
}

fn head(picture: &Picture) -> String {
    let id = picture.id.as_ref().filter(|id| **id != picture.host).map(|id| format!(" ({id})")).unwrap_or_default();
    let name = plain(&format!(" Sund   {}{id}", picture.host));
    let Some(variant) = &picture.variant else { return cut(name.trim_end(), COLUMNS) };
    // No name is so long that this is pushed off the screen.
    let variant = cut(&plain(variant), COLUMNS / 2);
    let width = COLUMNS - 1 - variant.chars().count();
    format!("{:width$}{variant}", cut(&name, width - 1))
}

/// Nothing that a terminal would obey, whoever wrote it.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// In lines, between words where that can be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width) {
            let piece: String = piece.iter().collect();
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(&piece),
                Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}
