//! A page as text for a terminal: wrapped to its width, tables in columns, headings and code in colour where wanted.

use std::fmt::Write;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Page;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const CODE: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";
/// Longer lines are hard to read, however wide the terminal is.
const WIDTH_MAX: usize = 100;
const WIDTH_MIN: usize = 40;
/// No column of a table becomes narrower.
const COLUMN_WIDTH_MIN: usize = 8;
/// Columns of the terminal between two of a table.
const GAP: usize = 2;

/// The page, for a terminal of so many columns.
pub fn print(page: &Page, columns: usize, is_styled: bool) -> String {
    let width = columns.clamp(WIDTH_MIN, WIDTH_MAX);
    let mut printer = Printer { width, is_styled, ..Printer::default() };
    for event in Parser::new_ext(page.text, Options::ENABLE_TABLES) {
        printer.handle(event);
    }
    printer.out
}

#[derive(Default)]
struct Printer {
    width: usize,
    is_styled: bool,
    out: String,
    /// The paragraph, heading, item or cell that is being read.
    text: String,
    /// What lists the text stands in: the number of the next item, where items are numbered.
    lists: Vec<Option<u64>>,
    /// What the next line of the text begins with, when it is the first of an item.
    bullet: Option<String>,
    is_code: bool,
    rows: Vec<Vec<String>>,
}

impl Printer {
    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.is_code => self.code(&text),
            Event::Text(text) => self.text += &text,
            Event::Code(code) => {
                // Each word by itself, for a line may end behind any of them, and another cell begin there.
                let words: Vec<_> = code.split(' ').map(|word| self.styled(CODE, word)).collect();
                self.text += &words.join(" ");
            }
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.flush(),
            Event::Rule => self.out += "\n",
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.flush();
                self.is_code = true;
            }
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush();
                let bullet = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    Some(None) | None => "- ".to_owned(),
                };
                self.bullet = Some(bullet);
            }
            Tag::Table(_) => self.rows.clear(),
            Tag::TableHead | Tag::TableRow => self.rows.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.text);
                let text = if level == HeadingLevel::H1 { text.to_uppercase() } else { text };
                self.text = self.styled(BOLD, &text);
                self.flush();
                self.out.push('\n');
            }
            TagEnd::Paragraph | TagEnd::BlockQuote(_) => {
                self.flush();
                self.out.push('\n');
            }
            TagEnd::Item => self.flush(),
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.out.push('\n');
                }
            }
            TagEnd::CodeBlock => {
                self.is_code = false;
                self.out.push('\n');
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                self.rows.last_mut().expect("a cell stands in a row").push(cell);
            }
            TagEnd::Table => self.table(),
            _ => {}
        }
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.is_styled { format!("{style}{text}{PLAIN}") } else { text.to_owned() }
    }

    /// Writes the text that has been read, wrapped.
    fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.text);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let bullet = self.bullet.take();
        let hang = if self.lists.is_empty() { 0 } else { bullet.as_ref().map_or(2, String::len) };
        let mut first = bullet.unwrap_or_else(|| " ".repeat(hang));
        for line in wrapped(&text, self.width.saturating_sub(indent.len() + hang)) {
            writeln!(self.out, "{indent}{first}{line}").expect("writing to a String cannot fail");
            first = " ".repeat(hang);
        }
    }

    /// Code stands as it is; whoever copies it must get all of it.
    fn code(&mut self, text: &str) {
        for line in text.lines() {
            let line = self.styled(CODE, line);
            writeln!(self.out, "    {line}").expect("writing to a String cannot fail");
        }
    }

    fn table(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        match column_widths(&rows, self.width) {
            Some(widths) => self.columns(&rows, &widths),
            None => self.entries(&rows),
        }
    }

    fn columns(&mut self, rows: &[Vec<String>], widths: &[usize]) {
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| wrapped(cell, *width)).collect();
            for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
                let mut text = String::new();
                for (cell, width) in cells.iter().zip(widths) {
                    let part = cell.get(line).map_or("", String::as_str);
                    let part = if index == 0 { self.styled(DIM, part) } else { part.to_owned() };
                    text += &part;
                    text += &" ".repeat((width + GAP).saturating_sub(shown_width(&part)));
                }
                writeln!(self.out, "{}", text.trim_end()).expect("writing to a String cannot fail");
            }
        }
        self.out.push('\n');
    }

    /// A table whose words are too long to stand beside each other: each row by itself, its first cell, and below it
    /// the others with the names of their columns.
    fn entries(&mut self, rows: &[Vec<String>]) {
        let Some((names, rows)) = rows.split_first() else { return };
        for row in rows {
            for (index, (name, cell)) in names.iter().zip(row).enumerate() {
                let (indent, text) = match index {
                    0 => ("", cell.clone()),
                    _ if cell.is_empty() => continue,
                    _ => ("    ", format!("{}: {cell}", self.styled(DIM, name))),
                };
                for line in wrapped(&text, self.width - indent.len()) {
                    writeln!(self.out, "{indent}{line}").expect("writing to a String cannot fail");
                }
            }
        }
        self.out.push('\n');
    }
}

/// Columns as wide as their longest cell, the widest made narrower until all fit; `None` where their words are too long
/// for that.
fn column_widths(rows: &[Vec<String>], width: usize) -> Option<Vec<usize>> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let longest = |column: usize| cells(column).map(|cell| shown_width(cell)).max().unwrap_or_default();
    let longest_word = |column: usize| {
        let words = cells(column).flat_map(|cell| cell.split_whitespace());
        words.map(shown_width).max().unwrap_or_default()
    };
    // Narrower than its longest word no column becomes, for what stood there would run into the next one.
    let mut widths: Vec<_> = (0..count).map(|column| (longest(column), longest_word(column))).collect();
    let room = width.saturating_sub(GAP * count.saturating_sub(1));
    while widths.iter().map(|(width, _)| width).sum::<usize>() > room {
        let narrower = widths.iter_mut().filter(|(width, least)| *width > (*least).max(COLUMN_WIDTH_MIN));
        narrower.max_by_key(|(width, _)| *width)?.0 -= 1;
    }
    Some(widths.into_iter().map(|(width, _)| width).collect())
}

/// The text in lines of at most so many columns; a word that is longer stands by itself.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if !line.is_empty() && shown_width(line) + 1 + shown_width(word) > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            *line += word;
        }
    }
    lines
}

/// Columns that a text takes, which its colours do not.
fn shown_width(text: &str) -> usize {
    let mut is_escape = false;
    text.chars()
        .filter(|c| {
            let begins = *c == '\x1b';
            let hidden = is_escape || begins;
            is_escape = begins || (is_escape && *c != 'm');
            !hidden
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manual::{PAGES, Part};

    fn printed(text: &'static str, columns: usize) -> String {
        print(&Page { name: "x", part: Part::Use, text }, columns, false)
    }

    #[test]
    fn a_page_is_wrapped_and_its_tables_stand_in_columns() {
        let text = "# A page\n\nOne two three four five six seven eight nine ten eleven.\n\n\
                    - an item\n- another\n\n| key | what it is |\n|---|---|\n| `a` | short |\n\
                    | `bb` | much longer than the column can be |\n\n```sh\ncurl x\n```\n";
        assert_eq!(
            printed(text, 40),
            "A PAGE\n\nOne two three four five six seven eight\nnine ten eleven.\n\n- an item\n- another\n\n\
             key  what it is\na    short\nbb   much longer than the column can be\n\n    curl x\n\n"
        );
        let narrow =
            "# A\n\n| key | what |\n|---|---|\n| `b` | one two three four five six seven eight nine ten |\n";
        assert_eq!(
            printed(narrow, 40),
            "A\n\nkey  what\nb    one two three four five six seven\n     eight nine ten\n\n"
        );
    }

    #[test]
    fn cells_never_run_into_each_other() {
        let table = "| key | what it is |\n|---|---|\n| `a.key.that.is.rather.long` | `and.a.value.as.long.as.that` |\n";
        assert_eq!(
            printed(table, 40),
            "a.key.that.is.rather.long\n    what it is:\n    and.a.value.as.long.as.that\n\n"
        );
        let table =
            "| key | what |\n|---|---|\n| `a.key.that.is.rather.long` | one two three four five six |\n";
        assert_eq!(
            printed(table, 40),
            "key                        what\n\
             a.key.that.is.rather.long  one two three\n                           four five six\n\n"
        );
    }

    #[test]
    fn a_colour_ends_with_its_line() {
        for page in PAGES {
            for line in print(page, 60, true).lines() {
                let (begun, ended) =
                    (line.matches(CODE).count() + line.matches(BOLD).count(), line.matches(PLAIN).count());
                assert!(ended >= begun, "{}: {line:?}", page.name);
            }
        }
    }

    #[test]
    fn no_line_but_code_and_long_words_is_wider_than_the_terminal() {
        for page in PAGES {
            for line in print(page, 80, true).lines() {
                let is_code =
                    line.trim_start_matches('\x1b').starts_with("    ") || line.contains("\u{1b}[36m");
                assert!(is_code || shown_width(line) <= 80, "{}: {line}", page.name);
            }
        }
    }
}
