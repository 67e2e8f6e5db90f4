//! Families of series by name and labels.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Counter, Gauge, Histogram, Label, Level, Seconds};

/// How many label sets one family may have; those beyond it are counted together, under the value `other`.
pub const MAX_SERIES: usize = 10_000;

/// The value that stands for all label values beyond [`MAX_SERIES`].
const OTHER: &str = "other";

/// The labels of one series, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Box<[(&'static str, Box<str>)]>);

impl Labels {
    fn new(labels: &[Label<'_>]) -> Self {
        let mut all: Vec<_> = labels.iter().map(|(name, value)| (*name, Box::from(*value))).collect();
        all.sort_by_key(|(name, _)| *name);
        Self(all.into())
    }

    /// The same names with the value that stands for the rest.
    fn overflow(&self) -> Self {
        Self(self.0.iter().map(|(name, _)| (*name, Box::from(OTHER))).collect())
    }

    /// The value of the label of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }
}

/// What the format calls a family's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A value computed when it is asked for.
pub(super) type Callback = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Where the value of a series comes from.
#[derive(Clone)]
pub(super) enum Handle {
    Counter(Counter),
    Seconds(Seconds),
    Gauge(Gauge),
    Level(Level),
    Histogram(Histogram),
    Value(Callback),
    Total(Callback),
}

impl Handle {
    const fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) | Self::Seconds(_) | Self::Total(_) => Kind::Counter,
            Self::Gauge(_) | Self::Level(_) | Self::Value(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

/// A handle that others hold too.
pub(super) trait Metric: Clone + Default {
    fn into_handle(self) -> Handle;
    fn from_handle(handle: &Handle) -> Option<Self>;
}

macro_rules! metric {
    ($($name:ident)*) => {$(
        impl Metric for $name {
            fn into_handle(self) -> Handle {
                Handle::$name(self)
            }

            fn from_handle(handle: &Handle) -> Option<Self> {
                if let Handle::$name(metric) = handle { Some(metric.clone()) } else { None }
            }
        }
    )*};
}

metric! { Counter Seconds Gauge Level Histogram }

/// All series of one name.
struct Family {
    help: &'static str,
    kind: Kind,
    series: BTreeMap<Arc<Labels>, Handle>,
}

/// One family at one moment.
pub(super) struct Snapshot {
    pub(super) name: Cow<'static, str>,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) series: Vec<(Arc<Labels>, Handle)>,
}

/// All families by name.
#[derive(Default)]
pub(super) struct Registry(Mutex<BTreeMap<Cow<'static, str>, Family>>);

impl Registry {
    fn families(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metric of that name and labels. Where the name already stands for a metric of another kind, which
    /// is a bug, one that nobody sees.
    pub(super) fn resolve<M: Metric>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
    ) -> M {
        let fresh = M::default().into_handle();
        self.with_family(name, help, fresh.kind(), |family| {
            let mut labels = Labels::new(labels);
            if family.series.len() >= MAX_SERIES && !family.series.contains_key(&labels) {
                labels = labels.overflow();
            }
            M::from_handle(family.series.entry(Arc::new(labels)).or_insert(fresh))
        })
        .flatten()
        .unwrap_or_else(|| {
            tracing::error!(
                metric = name,
                "one name stands for two kinds of metric; the second is not shown"
            );
            M::default()
        })
    }

    /// Registers a callback, in the place of an older one. Beyond the bound it is left out: callbacks do not
    /// add up.
    pub(super) fn observe(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        handle: Handle,
    ) {
        let known = self.with_family(name, help, handle.kind(), |family| {
            let labels = Labels::new(labels);
            if family.series.len() < MAX_SERIES || family.series.contains_key(&labels) {
                return family.series.insert(Arc::new(labels), handle);
            }
            None
        });
        if known.is_none() {
            tracing::error!(
                metric = name,
                "one name stands for two kinds of metric; the second is not shown"
            );
        }
        // What a replaced callback captured is dropped here, after the lock.
        drop(known);
    }

    /// Calls `act` with the family, made where it is missing; `None` where it is of another kind.
    fn with_family<T>(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        act: impl FnOnce(&mut Family) -> T,
    ) -> Option<T> {
        let name = match kind {
            Kind::Counter if !name.ends_with("_total") => Cow::Owned(format!("{name}_total")),
            Kind::Counter | Kind::Gauge | Kind::Histogram => Cow::Borrowed(name),
        };
        let mut families = self.families();
        let family = families.entry(name).or_insert_with(|| Family { help, kind, series: BTreeMap::new() });
        (family.kind == kind).then(|| act(family))
    }

    /// Removes the series for which `keep` says no, and the families that have none left.
    pub(super) fn retain(&self, mut keep: impl FnMut(&str, &Labels) -> bool) {
        let mut removed = Vec::new();
        let mut families = self.families();
        families.retain(|name, family| {
            let gone = family.series.extract_if(.., |labels, _| !keep(name, labels));
            removed.extend(gone);
            !family.series.is_empty()
        });
        drop(families);
        drop(removed);
    }

    /// All families as they are now, so that values are read and callbacks called without the lock.
    pub(super) fn snapshot(&self) -> Vec<Snapshot> {
        let families = self.families();
        let snapshot = |(name, family): (&Cow<'static, str>, &Family)| Snapshot {
            name: name.clone(),
            help: family.help,
            kind: family.kind,
            series: family.series.iter().map(|(labels, handle)| (labels.clone(), handle.clone())).collect(),
        };
        families.iter().map(snapshot).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("families", &self.families().len()).finish()
    }
}
