//! The routes of a configuration of the agent. A state says what each of them runs, and one that it does not name runs nothing.
use sund_ota::state::DesiredState;

/// The routes of its configuration that a state does not name; nothing where that cannot be read.
pub fn left_out(state: &DesiredState, configuration: &[u8]) -> Option<Vec<String>> {
    let configuration = toml::from_slice::<toml::Table>(configuration).ok()?;
    let routes = configuration.get("routes").and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = routes.iter().filter_map(|route| route.get("name")?.as_str());
    Some(names.filter(|name| !state.routes.contains_key(*name)).map(str::to_owned).collect())
}
