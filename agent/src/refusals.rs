//! The codes of this program's own: those that agent/REFUSALS.md has. A worker reads what came from outside and could make up others, of
//! any number and with any text in them: what leaves the box knows these alone.
use std::collections::BTreeSet;
use std::sync::LazyLock;

static KNOWN: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let quoted = include_str!("../REFUSALS.md").split('`').skip(1).step_by(2);
    quoted.filter(|word| word.contains('-') && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).collect()
});

/// The code itself, where it is one of ours.
pub(crate) fn known(code: &str) -> Option<&'static str> {
    KNOWN.get(code).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_where_it_stands_in_the_document() {
        assert!(KNOWN.len() > 200, "{}", KNOWN.len());
        for code in ["volume-mixed-spacing", "not-applicable", "worker-died", "too-late"] {
            assert_eq!(known(code), Some(code));
        }
        for made_up in ["", "-", "study", "volume", "pid-77qx", "volume-mixed-spacing-1"] {
            assert_eq!(known(made_up), None, "{made_up}");
        }
    }
}
