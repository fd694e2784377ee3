//! The spool: one durable log for instances and for the state of every job.
