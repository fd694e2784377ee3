//! Patient data that cannot leak through a careless log line.
use serde::{Deserialize, Serialize};
use std::fmt;

/// A value that identifies a patient: `Debug` and `Display` print nothing of it.
///
/// Serialisation is transparent, for stores that encrypt what they write; never serialise one into a log,
/// a metric label or an error text.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for results, for the authorised console and for encrypted stores alone.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(private)")
    }
}

impl<T> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(private)")
    }
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn debug_and_display_print_nothing_of_the_value() {
        let name = Private::new("Sørensen^Åse".to_owned());
        assert_eq!(format!("{name:?} {name}"), "(private) (private)");
        assert_eq!(name.reveal(), "Sørensen^Åse");
    }
}
