//! Which role a path belongs to, and under which address a file lies (TUF 3.1).
//!
//! `os/FILE`, `config/FILE`, `state/FILE`, `state/bundles/FILE` and `models/VENDOR/FILE` belong to the role before the file;
//! `trust/FILE` to `targets` itself. No other path has a role, whatever any metadata lists.
use url::Url;

/// Whether `targets` may delegate to a role of this name.
pub(super) fn is_role(name: &str) -> bool {
    match name.strip_prefix("models/") {
        Some(vendor) => is_plain(vendor),
        None => matches!(name, "os" | "config" | "state"),
    }
}

/// The role that a target's path belongs to. A `*` in a pattern stands for no slash here, which `tough` sees otherwise.
pub(super) fn role_of(path: &str) -> Option<&str> {
    let (directory, file) = path.rsplit_once('/')?;
    let role = match directory {
        "trust" => "targets",
        "state/bundles" => "state",
        directory if is_role(directory) => directory,
        _ => return None,
    };
    is_plain(file).then_some(role)
}

/// File name of a delegated role's metadata.
pub(super) fn role_file(role: &str, version: u64) -> String {
    format!("{version}.{role}.json")
}

/// The address of metadata: one segment, in which the slash of a role's name is escaped.
pub(super) fn metadata(base: &Url, file: &str) -> Option<Url> {
    below(base, [file])
}

/// The address of a target: `os/HASH.name` for `os/name`.
pub(super) fn target(base: &Url, path: &str, sha256: &str) -> Option<Url> {
    let (directory, file) = path.rsplit_once('/')?;
    let file = format!("{sha256}.{file}");
    below(base, directory.split('/').chain([file.as_str()]))
}

/// The address of what lies beside the targets and is none.
pub(super) fn unlisted(base: &Url, path: &str) -> Option<Url> {
    below(base, path.split('/'))
}

fn below<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Option<Url> {
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
    Some(url)
}

fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_role_or_to_none() {
        for (path, role) in [
            ("os/sund-1.raucb", Some("os")),
            ("models/acme/brain.sund", Some("models/acme")),
            ("state/bundles/north-1.json", Some("state")),
            ("trust/approvers.json", Some("targets")),
            ("models/brain.sund", None),
            ("models/acme/more/brain.sund", None),
            ("os/../state/x.json", None),
            ("os/..", None),
            ("/os/x", None),
            ("other/x", None),
            ("x", None),
        ] {
            assert_eq!(role_of(path), role, "{path}");
        }
    }

    #[test]
    fn the_hash_stands_before_the_files_name() {
        let base = Url::parse("https://store.example/repository/targets/").unwrap();
        let address = target(&base, "models/acme/brain.sund", "ab").unwrap();
        assert_eq!(address.as_str(), "https://store.example/repository/targets/models/acme/ab.brain.sund");
        let address = metadata(&base, &role_file("models/acme", 3)).unwrap();
        assert_eq!(address.as_str(), "https://store.example/repository/targets/3.models%2Facme.json");
    }
}
