//! The file that was read, which knows where every key and value stands, and shows problems there.

use std::fmt::Write as _;
use std::path::{Path as FilePath, PathBuf};

use super::conceal;
use super::node::{Hole, Node, Span, Value};
use super::render::{self, Shown};
use super::repair::Pins;
use crate::report::{Path, Problem, Report, Severity};

/// A config file's text and the places of what is in it.
#[derive(Clone, Debug)]
pub struct Source {
    name: PathBuf,
    text: String,
    root: Node,
    pins: Pins,
    /// What of the text is never shown.
    secrets: Vec<Span>,
}

impl Source {
    pub(super) fn new(name: &FilePath, text: &str, root: Node, pins: Pins) -> Self {
        let mut secrets = match root.value {
            Value::Hole(_) => conceal::guessed(text),
            _ => conceal::places(&root),
        };
        secrets.extend(pins.iter().flat_map(|pin| &pin.values));
        Self { name: name.to_owned(), text: text.to_owned(), root, pins, secrets }
    }

    /// The file's name as it was given.
    pub fn name(&self) -> &FilePath {
        &self.name
    }

    /// The folder that relative paths in the file start from.
    pub fn folder(&self) -> &FilePath {
        folder_of(&self.name)
    }

    /// Where a key or value stands, and whether it is in the file at all; if not, the place is that of the
    /// nearest table that is.
    pub fn locate(&self, path: &Path) -> (Span, bool) {
        let pin = self.pins.iter().find(|pin| pin.path == *path).map(|pin| pin.span);
        let (span, exact) = match pin {
            Some(span) => (span, true),
            None => {
                let (span, steps) = self.root.locate(path);
                (span, steps == path.segments().len())
            }
        };
        (self.inside(span), exact)
    }

    /// The problems as text for a terminal: place, message, the line with a caret, the hint; in the file's
    /// order.
    pub fn render(&self, report: &Report) -> String {
        let mut problems: Vec<_> =
            report.problems().iter().map(|problem| (self.locate(&problem.path), problem)).collect();
        problems.sort_by_key(|((span, _), _)| span.start);
        let mut out = String::new();
        for ((span, exact), problem) in problems {
            let absent = (!exact).then_some(&problem.path);
            let shown = Shown { text: &self.text, secrets: &self.secrets };
            render::problem(&mut out, &self.name, shown, span, absent, problem);
        }
        out
    }

    /// One line for the end: `2 errors, 1 warning`.
    pub fn summary(report: &Report) -> String {
        let count = |severity| report.problems().iter().filter(|p| p.severity == severity).count();
        let mut out = String::new();
        for (count, word) in [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")] {
            if count > 0 {
                let comma = if out.is_empty() { "" } else { ", " };
                let plural = if count == 1 { "" } else { "s" };
                // Writing to a string cannot fail.
                let _ = write!(out, "{comma}{count} {word}{plural}");
            }
        }
        out
    }

    /// Whether a problem of a later stage may only be the echo of one found here: something on its way, or
    /// below it, was wrong and has been replaced by a default.
    pub(super) fn echoes(&self, problem: &Problem) -> bool {
        let mut node = &self.root;
        for step in problem.path.segments() {
            let next = match (step, &node.value) {
                (crate::report::Segment::Key(key), _) => node.get(key).map(|entry| &entry.node),
                (crate::report::Segment::Index(index), Value::List(items)) => items.get(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return matches!(node.value, Value::Hole(_)),
            }
        }
        has_hole(node)
    }

    /// The span, moved into the text and onto character boundaries.
    fn inside(&self, span: Span) -> Span {
        let floor =
            |at: usize| (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let start = floor(span.start).unwrap_or_default();
        Span::new(start, floor(span.end).unwrap_or_default())
    }
}

fn has_hole(node: &Node) -> bool {
    match &node.value {
        Value::Hole(Hole::Absent | Hole::StandIn(_)) => true,
        Value::List(items) => items.iter().any(has_hole),
        Value::Table(entries) => entries.iter().any(|entry| has_hole(&entry.node)),
        _ => false,
    }
}

/// The folder of a file: the current one for a bare name.
pub(super) fn folder_of(name: &FilePath) -> &FilePath {
    match name.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => FilePath::new("."),
    }
}
