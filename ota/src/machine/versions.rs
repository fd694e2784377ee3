//! The order of the versions of operating systems.
use std::cmp::Ordering;

/// Whether a version comes before another one: by Semantic Versioning where both are such versions, else part for part, numbers by their
/// size.
pub(super) fn is_older(version: &str, than: &str) -> bool {
    let order = match (Semantic::parse(version), Semantic::parse(than)) {
        (Some(version), Some(than)) => version.cmp(&than),
        _ => part_for_part(version, than),
    };
    order.is_lt()
}

/// A version of Semantic Versioning 2.0.0. The order of its fields is their precedence (11); what it was built with has none (10).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Semantic<'a> {
    core: [u64; 3],
    stage: Stage<'a>,
}

/// Item 11.3: what comes before a release is older than it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage<'a> {
    Before(Vec<Identifier<'a>>),
    Release,
}

/// Item 11.4: numbers by their size and before texts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    Number(u64),
    Text(&'a str),
}

impl<'a> Semantic<'a> {
    fn parse(version: &'a str) -> Option<Self> {
        let version = version.split_once('+').map_or(version, |(version, _)| version);
        let (core, stage) = match version.split_once('-') {
            Some((core, before)) => {
                (core, Stage::Before(before.split('.').map(Identifier::parse).collect::<Option<_>>()?))
            }
            None => (version, Stage::Release),
        };
        let core: Vec<u64> = core.split('.').map(number).collect::<Option<_>>()?;
        Some(Self { core: core.try_into().ok()?, stage })
    }
}

impl<'a> Identifier<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return number(text).map(Self::Number);
        }
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then_some(Self::Text(text))
    }
}

/// Digits without a zero before them (item 2).
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number)
}

fn part_for_part(version: &str, than: &str) -> Ordering {
    let parts = |version: &str| version.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (mut version, mut than) = (parts(version), parts(than));
    let length = version.len().max(than.len());
    version.resize(length, "0".to_owned());
    than.resize(length, "0".to_owned());
    let order = |(one, other): (&String, &String)| match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        _ => one.cmp(other),
    };
    version.iter().zip(&than).map(order).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        for (older, newer) in [("1.9", "1.10"), ("0.9", "1.0"), ("1.2", "1.2.1"), ("2026.9.1", "2026.10")] {
            assert!(is_older(older, newer) && !is_older(newer, older), "{older}, {newer}");
        }
        assert!(!is_older("1.0", "1.0.0") && !is_older("1.0.0", "1.0"));
    }

    #[test]
    fn what_comes_before_a_release_is_older_than_it() {
        // The order that Semantic Versioning gives as its example, between two releases.
        let ordered = [
            "0.9.10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1-rc1",
            "1.0.1",
            "1.1.0-0.3-x",
        ];
        for (n, older) in ordered.iter().enumerate() {
            for newer in &ordered[n + 1..] {
                assert!(is_older(older, newer) && !is_older(newer, older), "{older}, {newer}");
            }
            assert!(!is_older(older, older), "{older}");
        }
        assert!(
            !is_older("1.0.0+a", "1.0.0+b") && !is_older("1.0.0+b", "1.0.0+a"),
            "what it was built with is no order"
        );
        assert!(is_older("1.02.0-rc1", "1.3.0"), "none by those rules is compared part for part");
    }
}
