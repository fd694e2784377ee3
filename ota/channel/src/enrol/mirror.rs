//! Mirrors are enrolled by a code and a certificate, as boxes are, and are none: nothing is rolled out to them, and none of them counts.
use crate::database::{failed, now};
use rusqlite::{Connection, OptionalExtension, params};
use sund_ota::fault::{Blame, Fault};

/// Makes a box of what is to be enrolled as one. A mirror that was never enrolled was named so by mistake; of one that was, a code for a box
/// would make one, and is refused.
pub fn make_box(c: &Connection, name: &str) -> Result<(), Fault> {
    let row = "UPDATE device SET mirror = 0 WHERE name = ?1 AND mirror AND key IS NULL AND seen_at IS NULL";
    c.execute(row, [name]).map_err(failed)?;
    let row = "SELECT 1 FROM device WHERE name = ?1 AND mirror";
    let is_mirror = c.query_row(row, [name], |_| Ok(())).optional().map_err(failed)?.is_some();
    let reason =
        || format!("`{name}` is a mirror: say --mirror for another code of it, or take another name for a box.");
    if is_mirror { Err(refused(reason())) } else { Ok(()) }
}

/// Makes a mirror of what was enrolled by a name. One that was taken for a box until now leaves its rollouts; what has ever told of itself what
/// a box tells is none.
pub fn make_mirror(c: &Connection, name: &str) -> Result<(), Fault> {
    let row = "UPDATE device SET mirror = 1 WHERE name = ?1 AND reported_at IS NULL AND installed IS NULL
                   AND NOT EXISTS (SELECT 1 FROM action a WHERE a.device = device.id AND a.taken) RETURNING id";
    let settled = c.query_row(row, [name], |r| r.get::<_, i64>(0)).optional().map_err(failed)?;
    let Some(device) = settled else {
        return Err(refused(format!("`{name}` is a box, and has spoken as one: take another name for a mirror.")));
    };
    c.execute(
        "UPDATE action SET status = 'canceled', reason = 'It is a mirror.', changed_at = ?2
         WHERE device = ?1 AND status IN ('scheduled', 'offered', 'silent')",
        params![device, now()],
    )
    .map(drop)
    .map_err(failed)
}

fn refused(reason: String) -> Fault {
    Fault::new("enrol-kind", Blame::Configuration, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::in_memory;
    use crate::enrol::give_token;
    use crate::rollout::filter::Attributes;

    #[test]
    fn what_was_taken_for_a_box_and_never_spoke_leaves_its_rollouts_and_a_box_does_not() {
        let c = in_memory();
        let rollout = "INSERT INTO rollout (id, name, state, sha256, length, status, created_by, created_at, silence_hours, confirm)
                       VALUES (1, 'r', 'state/s.json', '0', 1, 'paused', 'a', 1, 24, 0)";
        c.execute(rollout, []).unwrap();
        for (name, status, taken) in [("mirror", "silent", false), ("box", "silent", true), ("other", "finished", true)]
        {
            give_token(&c, name, &Attributes::new(), name, "a", 1).unwrap();
            let row = "INSERT INTO action (rollout, wave, device, status, taken, changed_at)
                       VALUES (1, 0, (SELECT id FROM device WHERE name = ?1), ?2, ?3, 1)";
            c.execute(row, params![name, status, taken]).unwrap();
        }
        let ends = |name| make_mirror(&c, name).map_err(|fault| fault.code.to_string());
        assert_eq!(ends("mirror"), Ok(()));
        for name in ["box", "other"] {
            assert_eq!(ends(name), Err("enrol-kind".to_owned()));
        }
        let standing = "SELECT group_concat(status || mirror, ' ') FROM action a JOIN device d ON d.id = a.device";
        let standing: String = c.query_row(standing, [], |r| r.get(0)).unwrap();
        assert_eq!(standing, "canceled1 silent0 finished0");
    }

    #[test]
    fn a_mirror_that_was_named_so_by_mistake_becomes_a_box_and_one_that_was_enrolled_does_not() {
        let c = in_memory();
        for name in ["mistake", "mirror"] {
            give_token(&c, name, &Attributes::new(), name, "a", 1).unwrap();
            make_mirror(&c, name).unwrap();
        }
        c.execute("UPDATE device SET key = x'01' WHERE name = 'mirror'", []).unwrap();
        assert_eq!(make_box(&c, "mirror").unwrap_err().code, "enrol-kind");
        assert!(make_box(&c, "mistake").is_ok() && make_box(&c, "new").is_ok());
        let mirrors: String =
            c.query_row("SELECT group_concat(name) FROM device WHERE mirror", [], |r| r.get(0)).unwrap();
        assert_eq!(mirrors, "mirror");
    }
}
