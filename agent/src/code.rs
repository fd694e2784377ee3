//! Coded concepts (PS3.16): what a finding, a segment, a unit is called in a shared vocabulary.
use serde::{Deserialize, Serialize};

/// A coded entry: PS3.3 8.1 (Code Value, Coding Scheme Designator, Code Meaning).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Code Value (0008,0100), at most 16 characters.
    pub value: String,
    /// Coding Scheme Designator (0008,0102): SCT, RADLEX, DCM, UCUM, 99SUND…
    pub scheme: String,
    /// Code Meaning (0008,0104), at most 64 characters.
    pub meaning: String,
}

impl Code {
    /// A code from its three parts.
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Self { value: value.into(), scheme: scheme.into(), meaning: meaning.into() }
    }
}
