//! What a state takes away from what serves. It is no reason to miss a trial, as the region may want it so, and the report says it: a route that
//! runs nothing is silent from then on, and nobody who signs hashes has seen that.
use crate::config::Config;
use crate::pipeline::ServingSet;
use crate::route::Route;

/// In words; `None` where nothing goes and every route runs something.
pub(super) fn gone(serving: &ServingSet, config: &Config) -> Option<String> {
    let idle = config.routes.iter().filter(|route| !runs(route));
    let routes =
        serving.routes.iter().filter(|route| runs(route) && !config.routes.iter().any(|it| it.name == route.name));
    let is_kept = |name: &str| config.destinations.iter().any(|it| it.name == name);
    let destinations = serving.destinations.iter().filter(|destination| !is_kept(&destination.name));
    let said: Vec<String> = (idle.map(|route| format!("route `{}` runs nothing", route.name)))
        .chain(routes.map(|route| format!("route `{}` goes", route.name)))
        .chain(destinations.map(|destination| format!("destination `{}` goes", destination.name)))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn runs(route: &Route) -> bool {
    !route.models.is_empty()
}
