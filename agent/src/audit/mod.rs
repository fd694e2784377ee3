//! Audit events (PS3.15 A.5), hash-chained.
