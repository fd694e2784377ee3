//! Study assembly and patient identity.
