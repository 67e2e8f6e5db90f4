//! What an operator can do with the caches of all routes: purge them, and look into them.
//!
//! A URL is mapped to what each route would look for: the routes whose host and path take it, whatever their
//! other conditions, and the target that they rewrite it to. What a prefix becomes when it is rewritten
//! cannot be told, so on a route that rewrites, a prefix purges all of the route. The parts of an aggregate
//! are found under their own paths, which are no route's.

use crate::clock::{self, Wall};
use crate::http::normalize::{self, PathRules};
use crate::http::{Scheme, Target};
use crate::layers::cache::purge::order::{Done, Order, OrderError, StoredHere, What};
use crate::layers::cache::purge::{Control, Name};
use crate::route::plan::MatchPlan;

use super::{Gateway, Route, Table};

impl Gateway {
    /// Purges what is stored. It takes effect at once, for all requests that come from now on.
    ///
    /// # Errors
    /// When a route or URL is named that does not exist.
    pub fn purge(&self, order: &Order) -> Result<Done, OrderError> {
        let table = self.table();
        let chosen = table.caches(order.route.as_deref())?;
        let purges = self.shared.store.purges();
        let rules = table.plan.server.paths;
        let mut routes: Vec<String> = Vec::new();
        let mut names: Vec<Name> = Vec::new();
        let mut add = |route: &Route, found: &[Name]| {
            routes.push(route.name.clone());
            names.extend_from_slice(found);
        };
        let mut entries = None;
        match &order.what {
            What::Url(url) => {
                let target = parse(url, rules)?;
                entries = Some(0);
                for (matching, route, cache) in chosen {
                    if let Some(inner) = route.target_of(matching, &target) {
                        add(route, &[cache.url(&inner)]);
                        entries = entries.zip(cache.count(&inner)).map(|(sum, here)| sum + here);
                    }
                }
            }
            What::Prefix(prefix) => {
                let target = parse(prefix, rules)?;
                for (matching, route, cache) in chosen {
                    let begins = route.has_parts || matching.path.may_begin(target.path());
                    if matching.host.takes(target.host()) && begins {
                        let rewrites = route.rewrite.is_some();
                        add(route, &[if rewrites { cache.everything() } else { cache.prefix(&target) }]);
                    }
                }
            }
            What::Tag(tag) => {
                let everywhere = order.route.is_none().then(|| purges.tag(None, tag.as_bytes()));
                for (_, route, cache) in chosen {
                    match everywhere {
                        Some(_) => add(route, &[]),
                        None => add(route, &cache.tag(tag.as_bytes())),
                    }
                }
                names.extend(everywhere.into_iter().flatten());
            }
            What::All => {
                let everywhere = order.route.is_none().then(|| purges.everything(None));
                for (_, route, cache) in chosen {
                    match everywhere {
                        Some(_) => add(route, &[]),
                        None => add(route, &[cache.everything()]),
                    }
                }
                entries = everywhere.map(|_| self.shared.store.entries());
                names.extend(everywhere);
            }
        }
        let (purged, mode) = (order.what.as_str(), order.mode.as_str());
        let labels = [("kind", purged), ("mode", mode)];
        let help = "Purges that operators ordered.";
        self.shared.metrics.counter("forebay_cache_purges_total", help, &labels).increment();
        let generation = purges.purge(&names, order.mode);
        Ok(Done { purged, mode, routes, generation, entries, lazy: true })
    }

    /// What is stored under a URL, by route.
    ///
    /// # Errors
    /// When it is no URL.
    pub async fn stored(&self, url: &str) -> Result<Vec<StoredHere>, OrderError> {
        let table = self.table();
        let target = parse(url, table.plan.server.paths)?;
        let now: Wall = clock::now().wall;
        let mut found = Vec::new();
        for (matching, route, cache) in table.caches(None)? {
            if let Some(inner) = route.target_of(matching, &target) {
                let variants = cache.stored(&inner, now).await;
                found.push(StoredHere { route: route.name.clone(), variants });
            }
        }
        Ok(found)
    }
}

impl Table {
    /// The routes that store, or the one of this name, which must.
    fn caches(&self, name: Option<&str>) -> Result<Vec<(&MatchPlan, &Route, &Control)>, OrderError> {
        let all = self.routes.iter().filter(|(_, _, route)| name.is_none_or(|name| route.name == name));
        let mut known = false;
        let mut caches = Vec::new();
        for (matching, _, route) in all {
            known = true;
            caches.extend(route.caches.iter().map(|cache| (matching, &**route, cache)));
        }
        match name {
            Some(name) if !known => Err(OrderError::NoRoute(name.to_owned())),
            Some(name) if caches.is_empty() => Err(OrderError::NoCache(name.to_owned())),
            _ => Ok(caches),
        }
    }
}

impl Route {
    /// What its cache is asked for when a client asks for `target`; none where the route takes no such URL.
    fn target_of(&self, matching: &MatchPlan, target: &Target) -> Option<Target> {
        let path = target.path();
        if self.has_parts {
            return matching.host.takes(target.host()).then(|| target.clone());
        }
        if !matching.host.takes(target.host()) || !matching.path.takes(path) {
            return None;
        }
        let mut inner = target.clone();
        if let Some(rewrite) = &self.rewrite
            && let Some(changed) = rewrite.apply(target, &matching.path.capture(path)).ok()?
        {
            inner.path_and_query = changed;
        }
        Some(inner)
    }
}

/// Reads a URL of ours, normalised as requests are. Without a scheme it is `http`.
fn parse(url: &str, rules: PathRules) -> Result<Target, OrderError> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: http::Uri = whole.parse().map_err(|_| OrderError::NotAUrl)?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(OrderError::NotAUrl),
    };
    let host = uri.authority().ok_or(OrderError::NotAUrl)?;
    let authority = normalize::authority(host.as_str().as_bytes(), scheme)?;
    let given = uri.path_and_query().ok_or(OrderError::NotAUrl)?;
    let path_and_query = normalize::path_and_query(given, rules)?.unwrap_or_else(|| given.clone());
    Ok(Target { scheme, authority, path_and_query })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_requests_are() {
        for (url, expected) in [
            ("http://A.example:80/x?y", Some("a.example/x?y")),
            ("https://a.example:443/x/../z", Some("a.example/z")),
            ("a.example", Some("a.example/")),
            ("a.example:8080/%7Ea", Some("a.example:8080/~a")),
            ("a.example?b", Some("a.example/?b")),
            ("http://a/b#c", Some("a/b")),
            ("/a", None),
            ("", None),
            ("ftp://a/", None),
            ("http://u:p@a/", None),
            ("http://a/%00", None),
        ] {
            let target = parse(url, PathRules::default()).ok();
            let shown = target.map(|target| format!("{}{}", target.authority(), target.path_and_query));
            assert_eq!(shown.as_deref(), expected, "{url}");
        }
    }
}
