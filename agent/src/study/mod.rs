//! Study assembly and patient identity.
pub mod assembly;
pub mod open;
pub mod patient;
pub mod record;
