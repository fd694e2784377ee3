//! What single values look like: each type says what it takes, and what to write instead of what it does not take.
use super::problem::meant;
use crate::audit::forward::Format;
use crate::outcome::Outcome;
use crate::route::Mode;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Longest text in a configuration, in bytes.
const MAX_TEXT: usize = 1024;

/// Why a value is not taken.
pub(super) struct Complaint {
    pub offset: usize,
    pub message: String,
    pub help: String,
}

/// A type that can be read from a value.
pub(super) trait Value: Sized {
    /// What one looks like.
    const EXAMPLE: &'static str;

    /// Reads one.
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint>;
}

fn complaint<T: Value>(value: &Spanned<DeValue<'_>>, message: impl Into<String>) -> Complaint {
    Complaint { offset: value.span().start, message: message.into(), help: T::EXAMPLE.to_owned() }
}

fn text<'v, T: Value>(value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, Complaint> {
    let text = value.get_ref().as_str().ok_or_else(|| {
        complaint::<T>(value, format!("must be a text in quotes, this is a {}", value.get_ref().type_str()))
    })?;
    match text.len() {
        0 => Err(complaint::<T>(value, "is empty")),
        n if n > MAX_TEXT => Err(complaint::<T>(value, format!("is longer than {MAX_TEXT} bytes"))),
        _ => Ok(text),
    }
}

/// A number from 0 to 1.
pub(super) struct Share(pub f64);

/// A number from 0 to 100.
pub(super) struct Percent(pub f64);

fn number<T: Value>(value: &Spanned<DeValue<'_>>, most: f64) -> Result<f64, Complaint> {
    let number = match value.get_ref() {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
        other => {
            return Err(complaint::<T>(value, format!("must be a number, this is a {}", other.type_str())));
        }
    };
    number
        .filter(|number| (0.0..=most).contains(number))
        .ok_or_else(|| complaint::<T>(value, format!("is not from 0 to {most}")))
}

impl Value for Share {
    const EXAMPLE: &'static str = "write a number from 0 to 1, e.g. 0.95";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        number::<Self>(value, 1.0).map(Self)
    }
}

impl Value for Percent {
    const EXAMPLE: &'static str = "write a number from 0 to 100, e.g. 2.0";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        number::<Self>(value, 100.0).map(Self)
    }
}

impl Value for String {
    const EXAMPLE: &'static str = "write a text in quotes";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        text::<Self>(value).map(str::to_owned)
    }
}

impl Value for PathBuf {
    const EXAMPLE: &'static str = "write a path in quotes, e.g. \"/var/lib/sund\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        text::<Self>(value).map(PathBuf::from)
    }
}

impl Value for bool {
    const EXAMPLE: &'static str = "write true or false";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        value.get_ref().as_bool().ok_or_else(|| complaint::<Self>(value, "is neither true nor false"))
    }
}

impl Value for usize {
    const EXAMPLE: &'static str = "write a whole number above 0";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        let number = value.get_ref().as_integer().and_then(|n| usize::from_str_radix(n.as_str(), n.radix()).ok());
        number.filter(|n| *n > 0).ok_or_else(|| complaint::<Self>(value, "is not a whole number above 0"))
    }
}

impl Value for SocketAddr {
    const EXAMPLE: &'static str = "write address:port, e.g. \"127.0.0.1:11112\" or \"[::1]:11112\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        text::<Self>(value)?.parse().map_err(|_| complaint::<Self>(value, "is not an IP address and a port"))
    }
}

impl<T: Value> Value for Vec<T> {
    const EXAMPLE: &'static str = "write a list in square brackets";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        let list = value.get_ref().as_array().ok_or_else(|| complaint::<Self>(value, "is not a list"))?;
        list.iter().map(T::read).collect()
    }
}

/// An application entity title (PS3.5 6.2, VR AE).
pub(super) struct AeTitle(pub String);

impl Value for AeTitle {
    const EXAMPLE: &'static str =
        "an AE title has 1 to 16 letters, digits and signs of ASCII, no backslash, no space at its ends";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        let title = text::<Self>(value)?;
        let wrong = if title.len() > 16 {
            format!("`{title}` has {} characters", title.chars().count())
        } else if let Some(sign) = title.chars().find(|c| !(' '..='~').contains(c) || *c == '\\') {
            format!("has a character that no AE title may have: {sign:?}")
        } else if title.trim() != title {
            "begins or ends with a space".to_owned()
        } else {
            return Ok(Self(title.to_owned()));
        };
        Err(complaint::<Self>(value, wrong))
    }
}

/// A name that other sections use, and that the console shows.
pub(super) struct Name(pub String);

impl Value for Name {
    const EXAMPLE: &'static str = "a name has 1 to 64 letters, digits, spaces, dots, hyphens and underscores";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        let name = text::<Self>(value)?;
        let is_fit = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_');
        if name.chars().count() > 64 || name.trim() != name || !name.chars().all(is_fit) {
            return Err(complaint::<Self>(value, format!("`{name}` cannot be a name")));
        }
        Ok(Self(name.to_owned()))
    }
}

/// A node's address: `host:port`.
pub(super) struct HostPort(pub String);

impl Value for HostPort {
    const EXAMPLE: &'static str = "write host:port, e.g. \"pacs.example.org:104\" or \"10.20.0.5:104\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        let (host, port) = text.rsplit_once(':').ok_or_else(|| complaint::<Self>(value, "has no port"))?;
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(complaint::<Self>(value, format!("`{port}` is not a port (1 to 65535)")));
        }
        let is_v6 = text.parse::<SocketAddr>().is_ok_and(|address| address.is_ipv6());
        let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if host.is_empty() || !(is_v6 || is_name) {
            return Err(complaint::<Self>(value, format!("`{host}` is neither a host name nor an IP address")));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A number and a unit.
fn measure<T: Value>(value: &Spanned<DeValue<'_>>, units: &[(&str, u64)]) -> Result<u64, Complaint> {
    let text = text::<T>(value)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
    let (Ok(number), Some(factor)) = (number.parse::<u64>(), factor) else {
        return Err(complaint::<T>(value, format!("`{text}` is not a number with a unit")));
    };
    match number.checked_mul(factor) {
        None => Err(complaint::<T>(value, format!("`{text}` is too large"))),
        Some(0) => Err(complaint::<T>(value, "must be above 0")),
        Some(measure) => Ok(measure),
    }
}

/// A span of time.
pub(super) struct Time(pub Duration);

impl Value for Time {
    const EXAMPLE: &'static str = "write a number with ms, s, min, h or d, e.g. \"30s\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let milliseconds = measure::<Self>(value, &UNITS)?;
        // Times are added to the clock; a century more than suffices and cannot overflow it.
        if milliseconds > 100 * 366 * 86_400_000 {
            return Err(complaint::<Self>(value, "is longer than a century"));
        }
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

/// A number of bytes.
pub(super) struct Size(pub u64);

impl Value for Size {
    const EXAMPLE: &'static str = "write a number with KB, MB, GB, TB or KiB, MiB, GiB, TiB, e.g. \"64GiB\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        const UNITS: [(&str, u64); 8] = [
            ("KB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
        ];
        measure::<Self>(value, &UNITS).map(Self)
    }
}

/// A calendar day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// Year of the Gregorian calendar.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Value for Day {
    const EXAMPLE: &'static str = "write a day without quotes, e.g. 2027-06-30";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        let date = value.get_ref().as_datetime().filter(|datetime| datetime.time.is_none()).and_then(|d| d.date);
        let date = date.ok_or_else(|| complaint::<Self>(value, "is not a day"))?;
        Ok(Self { year: date.year, month: date.month, day: date.day })
    }
}

/// One of a few words.
fn word<T: Value, V: Copy>(value: &Spanned<DeValue<'_>>, words: &[(&'static str, V)]) -> Result<V, Complaint> {
    let written = text::<T>(value)?;
    words.iter().find(|(word, _)| *word == written).map(|(_, v)| *v).ok_or_else(|| {
        let mut complaint = complaint::<T>(value, format!("`{written}` is not one of the words that may stand here"));
        if let Some(meant) = meant(written, words.iter().map(|(word, _)| *word)) {
            complaint.help = format!("did you mean \"{meant}\"?");
        }
        complaint
    })
}

impl Value for Mode {
    const EXAMPLE: &'static str = "write \"shadow\", \"research\" or \"clinical\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        const WORDS: [(&str, Mode); 3] =
            [("shadow", Mode::Shadow), ("research", Mode::Research), ("clinical", Mode::Clinical)];
        word::<Self, _>(value, &WORDS)
    }
}

impl Value for Outcome {
    const EXAMPLE: &'static str = "write \"finding\", \"no-finding\", \"not-applicable\", \"failed\" or \"too-late\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        const WORDS: [(&str, Outcome); 5] = [
            ("finding", Outcome::Finding),
            ("no-finding", Outcome::NoFinding),
            ("not-applicable", Outcome::NotApplicable),
            ("failed", Outcome::Failed),
            ("too-late", Outcome::TooLate),
        ];
        word::<Self, _>(value, &WORDS)
    }
}

/// How workers come up.
#[derive(Clone, Copy)]
pub(super) enum LauncherKind {
    Child,
    Systemd,
}

impl Value for LauncherKind {
    const EXAMPLE: &'static str = "write \"child\" or \"systemd\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        word::<Self, _>(value, &[("child", Self::Child), ("systemd", Self::Systemd)])
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    const EXAMPLE: &'static str = "write \"text\" or \"json\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        word::<Self, _>(value, &[("text", Self::Text), ("json", Self::Json)])
    }
}

/// What the collector of the audit log gets.
#[derive(Clone, Copy)]
pub(super) struct ForwardFormat(pub Format);

impl Value for ForwardFormat {
    const EXAMPLE: &'static str = "write \"dicom\" or \"json\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Complaint> {
        word::<Self, _>(value, &[("dicom", Self(Format::Dicom)), ("json", Self(Format::Json))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(toml: &str) -> Result<T, String> {
        let value = DeValue::parse(toml).map_err(|error| error.to_string())?;
        T::read(&value).map_err(|complaint| complaint.message)
    }

    #[test]
    fn times_and_sizes_need_a_unit_and_do_not_overflow() {
        assert_eq!(read::<Time>("\"30s\"").map(|t| t.0), Ok(Duration::from_secs(30)));
        assert_eq!(read::<Time>("\"5 min\"").map(|t| t.0), Ok(Duration::from_mins(5)));
        assert_eq!(read::<Size>("\"64MiB\"").map(|s| s.0), Ok(64 << 20));
        assert_eq!(read::<Size>("\"256MB\"").map(|s| s.0), Ok(256_000_000));
        for wrong in
            ["30", "\"30\"", "\"s\"", "\"0s\"", "\"-1s\"", "\"1.5h\"", "\"99999999999999999999d\"", "\"40000d\""]
        {
            assert!(read::<Time>(wrong).is_err(), "{wrong}");
        }
        assert!(read::<Size>("\"18446744073709551615KB\"").is_err());
        assert!(read::<Size>("\"5 mb\"").is_err());
    }

    #[test]
    fn ae_titles_are_those_of_the_standard() {
        for right in ["SUND", "CT 1", "a", "SIXTEEN_LETTERS_"] {
            assert!(read::<AeTitle>(&format!("\"{right}\"")).is_ok(), "{right}");
        }
        for wrong in ["", " SUND", "SUND ", "SEVENTEEN_LETTERS", "SØND", "A\\\\B", "A\\tB", "   "] {
            assert!(read::<AeTitle>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_of_nodes_have_a_host_and_a_port() {
        for right in ["pacs:104", "10.0.0.1:11112", "[fd00::1]:104"] {
            assert!(read::<HostPort>(&format!("\"{right}\"")).is_ok(), "{right}");
        }
        for wrong in ["pacs", "pacs:0", "pacs:70000", ":104", "fd00::1:104", "pa cs:104", "http://pacs:104"] {
            assert!(read::<HostPort>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
        }
    }
}
