//! The format of `rescue.json`, frozen.
use crate::released::{envelope, key, payload, person};
use std::path::Path;
use sund_rescue::role::Role;

#[test]
fn the_descriptor_on_the_wire_is_the_one_that_stands_in_the_readme() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/rescue.json");
    let written = envelope(&payload(7, b"a recovery bundle\n"), &[&key(1), &key(2)]);
    let golden = std::fs::read(&path).expect("the golden file");
    assert_eq!(String::from_utf8_lossy(&golden).trim_end(), String::from_utf8_lossy(&written));
    let role = Role::new(vec![person("Ane", &key(1)), person("Bo", &key(2))], 2).expect("a role");
    let signed = role.verify(&golden).expect("it holds");
    assert_eq!((signed.get().version, signed.get().bundle.path.as_str()), (7, "rescue/bundle.raucb"));
}
