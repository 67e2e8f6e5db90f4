//! The routes of a gateway, indexed: by host in hash maps, then by path in a tree of segments.
//!
//! Routes are kept in the order in which they win, so a route's index is its rank, and finding a route is
//! finding the smallest index that matches. Each node of the tree knows the smallest one below it: once a
//! match is known, what cannot beat it is not looked at. A node is visited at most once a request, so no path
//! is costlier than the number of nodes.

use std::cmp::Reverse;
use std::collections::HashMap;

use http::{HeaderMap, HeaderValue, Method};

use crate::http::Params;

use super::pattern::{Segment, Tail, below_root, split_segment};
use super::plan::{HostMatch, MatchPlan};

/// What a table says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'t, T> {
    /// This route takes it.
    Route {
        /// What the route was built with.
        value: &'t T,
        /// What its path captured, of what is used.
        params: Params,
    },
    /// Routes would take it, but for its method.
    MethodNotAllowed {
        /// Their methods, for `Allow`.
        allow: HeaderValue,
    },
    /// No route takes it.
    NotFound,
}

/// All routes of a gateway.
#[derive(Debug)]
pub struct RouteTable<T> {
    /// The one that wins first.
    routes: Vec<Route<T>>,
    nodes: Vec<Node>,
    exact: HashMap<Box<str>, u32, ahash::RandomState>,
    below: HashMap<Box<str>, u32, ahash::RandomState>,
    any: Option<u32>,
}

#[derive(Debug)]
struct Route<T> {
    plan: MatchPlan,
    priority: i32,
    value: T,
}

/// A place in the tree of segments.
#[derive(Debug)]
struct Node {
    /// The smallest index at or below this node.
    first: u32,
    literals: Literals,
    param: Option<u32>,
    /// Routes whose path ends here.
    ends: Vec<u32>,
    /// Routes whose path goes on with anything or nothing.
    rests: Vec<u32>,
}

/// A node's children by name: a list while that is faster.
#[derive(Debug)]
enum Literals {
    Few(Vec<(Box<str>, u32)>),
    Many(HashMap<Box<str>, u32, ahash::RandomState>),
}

/// From how many children on a map is faster than a list.
const MANY: usize = 8;

/// What there is to know of a request beside host and path.
struct Probe<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    query: Option<&'a str>,
}

/// No route: larger than any index.
const NONE: u32 = u32::MAX;

/// The order in which routes win; see the [module docs](super). Ties go to the one that comes first in the
/// file.
pub(super) fn rank(plan: &MatchPlan, priority: i32) -> impl Ord + use<> {
    let host = match &plan.host {
        HostMatch::Exact(_) => (0, Reverse(0)),
        HostMatch::Below(parent) => (1, Reverse(parent.len())),
        HostMatch::Any => (2, Reverse(0)),
    };
    let conditions = plan.headers.len() + plan.queries.len();
    (Reverse(priority), host, plan.path.specificity(), plan.methods.is_empty(), Reverse(conditions))
}

impl<T> RouteTable<T> {
    /// Indexes routes: match, priority and what to answer when it is found, in the file's order.
    pub fn new(routes: impl IntoIterator<Item = (MatchPlan, i32, T)>) -> Self {
        let mut routes: Vec<Route<T>> =
            routes.into_iter().map(|(plan, priority, value)| Route { plan, priority, value }).collect();
        routes.sort_by_cached_key(|route| rank(&route.plan, route.priority));
        let mut tree = Tree::default();
        let (mut exact, mut below) = (HashMap::default(), HashMap::default());
        let mut any = None;
        for (index, route) in routes.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(NONE);
            let root = match &route.plan.host {
                HostMatch::Exact(host) => *exact.entry(host.clone()).or_insert_with(|| tree.node(index)),
                HostMatch::Below(host) => *below.entry(host.clone()).or_insert_with(|| tree.node(index)),
                HostMatch::Any => *any.get_or_insert_with(|| tree.node(index)),
            };
            tree.insert(root, index, &route.plan);
        }
        Self { routes, nodes: tree.nodes, exact, below, any }
    }

    /// Finds the route of a request. `host` has no port and is canonical as in
    /// [`Target::host`](crate::http::Target::host), `path` is normalised, `query` has no question mark.
    pub fn find(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Found<'_, T> {
        let probe = Probe { method, headers, query };
        let mut best = NONE;
        for root in self.roots(host) {
            self.search(root, Some(below_root(path)), &probe, &mut best);
        }
        match self.route(best) {
            Some(route) => Found::Route { value: &route.value, params: route.plan.path.capture(path) },
            None => self.refuse(host, path, &probe),
        }
    }

    /// All routes in the order in which they win.
    pub fn iter(&self) -> impl Iterator<Item = (&MatchPlan, i32, &T)> {
        self.routes.iter().map(|route| (&route.plan, route.priority, &route.value))
    }

    /// How many routes there are.
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    pub const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn route(&self, index: u32) -> Option<&Route<T>> {
        self.routes.get(index as usize)
    }

    /// The trees in which a host's routes are, the most specific first.
    fn roots(&self, host: &str) -> impl Iterator<Item = u32> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let mut parent = if self.below.is_empty() { None } else { Some(host) };
        let below = std::iter::from_fn(move || {
            loop {
                let (_, rest) = parent?.split_once('.')?;
                parent = Some(rest);
                if let Some(root) = self.below.get(rest) {
                    return Some(root);
                }
            }
        });
        exact.into_iter().chain(below).chain(&self.any).copied()
    }

    /// Lowers `best` to the smallest index at or below `node` that takes the request. `left` is what of the
    /// path has not been matched, after its slash; `None` where there is not even a slash.
    fn search(&self, node: u32, left: Option<&str>, probe: &Probe<'_>, best: &mut u32) {
        let Some(node) = self.nodes.get(node as usize) else { return };
        if node.first >= *best {
            return;
        }
        match left {
            None => self.first(&node.ends, probe, best),
            Some(text) => {
                let (segment, next) = split_segment(text);
                for child in node.children(segment) {
                    self.search(child, next, probe, best);
                }
            }
        }
        self.first(&node.rests, probe, best);
    }

    fn first(&self, indices: &[u32], probe: &Probe<'_>, best: &mut u32) {
        for &index in indices.iter().take_while(|index| **index < *best) {
            if self.route(index).is_some_and(|route| {
                route.plan.takes_method(probe.method) && route.plan.takes_fields(probe.headers, probe.query)
            }) {
                *best = index;
                return;
            }
        }
    }

    /// 405 where a route would take the request with another method, 404 otherwise.
    #[cold]
    fn refuse(&self, host: &str, path: &str, probe: &Probe<'_>) -> Found<'_, T> {
        let mut methods = Vec::new();
        for root in self.roots(host) {
            self.methods(root, Some(below_root(path)), probe, &mut methods);
        }
        match HeaderValue::try_from(methods.join(", ")) {
            Ok(allow) if !methods.is_empty() => Found::MethodNotAllowed { allow },
            _ => Found::NotFound,
        }
    }

    /// Collects the methods of the routes that take the request but for its method.
    fn methods<'t>(&'t self, node: u32, left: Option<&str>, probe: &Probe<'_>, methods: &mut Vec<&'t str>) {
        let Some(node) = self.nodes.get(node as usize) else { return };
        let ends = if left.is_none() { node.ends.as_slice() } else { &[] };
        for route in ends.iter().chain(&node.rests).filter_map(|index| self.route(*index)) {
            if route.plan.takes_fields(probe.headers, probe.query) {
                for method in &route.plan.methods {
                    if !methods.contains(&method.as_str()) {
                        methods.push(method.as_str());
                    }
                }
            }
        }
        if let Some(text) = left {
            let (segment, next) = split_segment(text);
            for child in node.children(segment) {
                self.methods(child, next, probe, methods);
            }
        }
    }
}

impl Node {
    /// The children that a segment leads to, the more specific one first.
    fn children(&self, segment: &str) -> impl Iterator<Item = u32> {
        // No parameter is empty: `/orders/` is not `/orders/{id}`.
        let param = self.param.filter(|_| !segment.is_empty());
        self.literals.get(segment).into_iter().chain(param)
    }
}

impl Literals {
    fn get(&self, name: &str) -> Option<u32> {
        match self {
            Self::Few(few) => few.iter().find(|(known, _)| **known == *name).map(|(_, child)| *child),
            Self::Many(many) => many.get(name).copied(),
        }
    }

    fn insert(&mut self, name: Box<str>, child: u32) {
        match self {
            Self::Few(few) if few.len() < MANY => few.push((name, child)),
            Self::Few(few) => *self = Self::Many(few.drain(..).chain([(name, child)]).collect()),
            Self::Many(many) => {
                many.insert(name, child);
            }
        }
    }
}

/// The tree while it is built. Routes are inserted in rank order, so the first one through a node is its
/// smallest.
#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    fn node(&mut self, first: u32) -> u32 {
        let literals = Literals::Few(Vec::new());
        self.nodes.push(Node { first, literals, param: None, ends: Vec::new(), rests: Vec::new() });
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    fn insert(&mut self, root: u32, index: u32, plan: &MatchPlan) {
        let mut at = root;
        for segment in &plan.path.segments {
            let known = self.nodes.get(at as usize).and_then(|node| match segment {
                Segment::Literal(name) => node.literals.get(name),
                Segment::Param(_) => node.param,
            });
            at = known.unwrap_or_else(|| self.child(at, segment, index));
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            match plan.path.tail {
                Tail::End => node.ends.push(index),
                Tail::Rest(_) | Tail::Any => node.rests.push(index),
            }
        }
    }

    fn child(&mut self, parent: u32, segment: &Segment, index: u32) -> u32 {
        let child = self.node(index);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            match segment {
                Segment::Literal(name) => node.literals.insert(name.clone(), child),
                Segment::Param(_) => node.param = Some(child),
            }
        }
        child
    }
}
