//! Problems found in what the user wrote, each at a path of the config tree; all are collected, none stops
//! the rest.
//!
//! A [`Report`] knows nothing of files: `config` turns a [`Path`] into line, column and caret.

use std::fmt;

/// One step into the config tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// Where in the config tree a value stands, from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The root of the tree.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The path of a key below this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.0.clone();
        path.push(Segment::Key(key.to_owned()));
        Self(path)
    }

    /// The path of an array element below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.0.clone();
        path.push(Segment::Index(index));
        Self(path)
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if at == 0 => write!(f, "{key}")?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It can be used, and probably does not do what was meant.
    Warning,
}

/// One problem at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub path: Path,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it, where that can be said.
    pub hint: Option<String>,
}

/// All problems found so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an error.
    pub fn error(&mut self, path: &Path, message: impl Into<String>) {
        self.push(Severity::Error, path, message.into(), None);
    }

    /// Records an error with advice.
    pub fn error_with_hint(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Error, path, message.into(), Some(hint.into()));
    }

    /// Records a warning with advice.
    pub fn warn(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, path, message.into(), Some(hint.into()));
    }

    fn push(&mut self, severity: Severity, path: &Path, message: String, hint: Option<String>) {
        self.problems.push(Problem { severity, path: path.clone(), message, hint });
    }

    /// Adds a problem that was made elsewhere.
    pub fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether an error was recorded.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Everything recorded, in order.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// The candidate nearest to `word`, if one is near enough to be what was meant ("did you mean").
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The distance between two words: how many characters to insert, delete, replace or swap with a neighbour
/// (Damerau and Levenshtein's, each place edited once).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut older: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        let mut before = None;
        for ((j, to), pair) in b.iter().enumerate().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
            if previous == Some(*to) && before == Some(from) {
                let swapped = j.checked_sub(1).and_then(|at| older.get(at)).map_or(left, |cost| cost + 1);
                left = left.min(swapped);
            }
            before = Some(*to);
            next.push(left);
        }
        older = std::mem::replace(&mut row, next);
        previous = Some(from);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_the_user_writes_them() {
        let path = Path::root().key("route").index(2).key("cache").key("ttl");
        assert_eq!(path.to_string(), "route[2].cache.ttl");
    }

    #[test]
    fn nearest_finds_typos_only() {
        let keys = ["upstream", "timeout", "rate_limit"];
        assert_eq!(nearest("upstraem", keys), Some("upstream"));
        assert_eq!(nearest("timout", keys), Some("timeout"));
        assert_eq!(nearest("ulr", ["url", "weight"]), Some("url"));
        assert_eq!(nearest("zebra", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
