//! Study assembly and patient identity.
pub mod assembly;
pub mod patient;
pub mod record;
