//! One problem as text, the way compilers show theirs.

use std::fmt::Write as _;
use std::path::Path as FilePath;

use super::conceal;
use super::node::Span;
use crate::report::{Path, Problem, Severity};

/// The most characters of a source line that are shown, and how many of them stand before the caret at most.
const MAX_LINE: usize = 120;
const MAX_BEFORE: usize = 60;

/// A file's text, and where in it stands what is not to be shown.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The text.
    pub text: &'a str,
    /// The secrets in it.
    pub secrets: &'a [Span],
}

/// Appends a problem; `absent` is its path where that is not in the file and `span` shows the table it
/// belongs to.
pub fn problem(
    out: &mut String,
    name: &FilePath,
    shown: Shown<'_>,
    span: Span,
    absent: Option<&Path>,
    problem: &Problem,
) {
    let word = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = Place::of(shown, span);
    let (line, column) = (place.line, place.column);
    let gutter = " ".repeat(line.to_string().len());
    let message = printable(&problem.message);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}:{line}:{column}: {word}: {message}", name.display());
    if !place.source.is_empty() {
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{line} | {}", place.source);
        let _ = writeln!(out, "{gutter} | {}{}", place.before, "^".repeat(place.width));
    }
    if let Some(path) = absent {
        let _ = writeln!(out, "{gutter} = at: {}, which is not in the file", printable(&path.to_string()));
    }
    if let Some(hint) = &problem.hint {
        let _ = writeln!(out, "{gutter} = help: {}", printable(hint));
    }
}

/// A span in terms of lines.
struct Place {
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// The line, cut to what fits.
    source: String,
    /// What stands under the part of the line before the span.
    before: String,
    /// How many characters of this line are in the span, at least 1.
    width: usize,
}

impl Place {
    fn of(Shown { text, secrets }: Shown<'_>, span: Span) -> Self {
        let head = text.get(..span.start).unwrap_or(text);
        let line = head.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let line_start = head.rfind('\n').map_or(0, |at| at + 1);
        let tail = text.get(line_start..).unwrap_or_default();
        let full = tail.lines().next().unwrap_or_default();
        let column = head.get(line_start..).unwrap_or_default().chars().count() + 1;

        let skipped = (column - 1).saturating_sub(MAX_BEFORE);
        let is_secret =
            |at: usize| secrets.iter().any(|secret| (secret.start..secret.end).contains(&(line_start + at)));
        let characters = full.char_indices().skip(skipped).take(MAX_LINE);
        let shown: String = characters.map(|(at, c)| if is_secret(at) { '*' } else { visible(c) }).collect();
        // A tab stays a tab, so that the caret stands where the terminal puts the character.
        let before = shown.chars().take(column - 1 - skipped).map(|c| if c == '\t' { '\t' } else { ' ' });
        let before: String = before.collect();
        let marked = text.get(span.start..span.end).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default().trim_end().chars().count();
        let room = shown.chars().count().saturating_sub(column - 1 - skipped);
        Self { line, column, width: marked.min(room).max(1), source: shown, before }
    }
}

/// A character that does nothing to a terminal.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

fn printable(text: &str) -> String {
    conceal::without_user_information(text)
        .chars()
        .map(|c| if c == '\n' { ' ' } else { visible(c) })
        .collect()
}
