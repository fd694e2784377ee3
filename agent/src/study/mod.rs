//! Study assembly and patient identity.
pub mod assembly;
