//! The display: one calm frame that is drawn over itself on a terminal, plain lines anywhere else.

use super::cast::Member;
use super::{ACK_WAIT_MS, instant};
use backstop_domain::Ms;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::Write;

/// Columns that all lines fit in, on the narrowest terminal.
const MIN_COLUMNS: usize = 80;
const MAX_COLUMNS: usize = 120;
/// Lines of a frame beside the news.
const FIXED_LINES: usize = 18;
const NEWS_LINES: std::ops::RangeInclusive<usize> = 4..=36;

/// What the display may do.
#[derive(Clone, Copy, Debug)]
pub struct View {
    redraw: bool,
    color: bool,
    columns: usize,
    rows: usize,
}

impl View {
    /// Lines without colour, one after the other.
    pub fn plain() -> View {
        View { redraw: false, color: false, columns: MIN_COLUMNS, rows: 24 }
    }

    /// What standard output can show.
    pub(super) fn of_terminal(is_terminal: bool, no_color: bool) -> View {
        if !is_terminal {
            return View::plain();
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
        let (columns, rows) =
            size.map_or((MIN_COLUMNS, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        // A frame that is higher or wider than its terminal cannot be drawn over.
        let redraw = columns >= MIN_COLUMNS && rows > FIXED_LINES + NEWS_LINES.start();
        View { redraw, color: !no_color, columns: columns.clamp(MIN_COLUMNS, MAX_COLUMNS), rows }
    }
}

/// How a piece of text looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Cyan,
    Magenta,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Ink::Plain => "0",
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Cyan => "36",
            Ink::Magenta => "35",
        }
    }
}

/// A customer's line.
pub(super) struct Row {
    pub(super) name: &'static str,
    about: &'static str,
    pub(super) followup_id: String,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) late: bool,
    /// How much of the 30 s went by before it was decided, or until now.
    waited_ms: Ms,
    /// Entries of the history that were told.
    pub(super) told: usize,
}

impl Row {
    pub(super) fn new(member: &Member) -> Row {
        Row {
            name: member.name,
            about: member.about,
            followup_id: String::new(),
            state: String::new(),
            reason: String::new(),
            late: false,
            waited_ms: 0,
            told: 0,
        }
    }

    /// Takes over what the API says.
    pub(super) fn take(&mut self, followup: &Value, now: Ms) {
        let word = |name: &str| followup[name].as_str().unwrap_or_default().to_owned();
        (self.state, self.reason) = (word("state"), word("reason"));
        self.late = !followup["late_ack_at"].is_null();
        let until = if followup["decided_at"].is_null() { now } else { instant(&followup["decided_at"]) };
        self.waited_ms = (until - instant(&followup["accepted_at"])).max(0);
    }

    fn verdict(&self) -> (Ink, &'static str) {
        match self.state.as_str() {
            "" => (Ink::Dim, ""),
            "acked" => (Ink::Green, "✓ acked"),
            "fell_back" if self.late => (Ink::Yellow, "✉ text + email, ack late"),
            "fell_back" | "falling_back" => (Ink::Yellow, "✉ text + email"),
            "cancelled" => (Ink::Magenta, "○ read, nothing sent"),
            "failed" => (Ink::Yellow, "✗ nothing could leave"),
            _ => (Ink::Cyan, "waiting for its ack"),
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state.as_str(), "sending" | "awaiting_ack")
    }
}

struct News {
    at: Ms,
    name: &'static str,
    text: String,
}

/// The display.
pub(super) struct Screen {
    view: View,
    out: Box<dyn Write + Send>,
    facts: Vec<(&'static str, String)>,
    news: VecDeque<News>,
    /// Lines of the last frame, to be drawn over.
    drawn: usize,
}

impl Screen {
    pub(super) fn new(view: View, out: Box<dyn Write + Send>) -> Screen {
        let mut screen = Screen { view, out, facts: Vec::new(), news: VecDeque::new(), drawn: 0 };
        if view.redraw {
            screen.write("\x1b[?25l");
        }
        screen
    }

    /// What stays on top.
    pub(super) fn facts(&mut self, facts: &[(&'static str, String)]) {
        self.facts = facts.to_vec();
        if !self.view.redraw {
            for line in self.header(0) {
                self.line(&line);
            }
            self.line("");
        }
    }

    /// Something happened.
    pub(super) fn tell(&mut self, at: Ms, name: &'static str, text: &str) {
        let news = News { at, name, text: text.to_owned() };
        if self.view.redraw {
            self.news.push_back(news);
            let room = self.view.rows.saturating_sub(FIXED_LINES).clamp(*NEWS_LINES.start(), *NEWS_LINES.end());
            while self.news.len() > room {
                self.news.pop_front();
            }
        } else {
            let line = self.news_line(&news);
            self.line(&line);
        }
    }

    /// Draws the frame over the last one.
    pub(super) fn draw(&mut self, rows: &[Row], clock: Ms) {
        if self.view.redraw {
            self.frame(rows, clock);
        }
    }

    fn frame(&mut self, rows: &[Row], clock: Ms) {
        let mut lines = self.header(clock);
        lines.push(String::new());
        lines.extend(rows.iter().map(|row| self.row(row)));
        lines.push(String::new());
        lines.extend(self.news.iter().map(|news| self.news_line(news)));
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}F", self.drawn));
        }
        for line in &lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J");
        self.drawn = lines.len();
        self.write(&frame);
    }

    /// The frame stays as it is; what follows is written below it.
    pub(super) fn finish(&mut self) {
        self.drawn = 0;
        if self.view.redraw {
            self.write("\x1b[?25h");
        }
    }

    /// One line of text below the frame.
    pub(super) fn line(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    pub(super) fn columns(&self) -> usize {
        self.view.columns
    }

    pub(super) fn paint(&self, ink: Ink, text: &str) -> String {
        if !self.view.color || ink == Ink::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("\x1b[{}m{text}\x1b[0m", ink.code())
    }

    /// The customers once more, for those who saw no frame.
    pub(super) fn table(&mut self, rows: &[Row]) {
        if !self.view.redraw {
            self.line("");
            for row in rows {
                let line = self.row(row);
                self.line(&line);
            }
        }
    }

    fn header(&self, clock: Ms) -> Vec<String> {
        let time = format!("{}:{:02}.{}", clock / 60_000, clock / 1_000 % 60, clock % 1_000 / 100);
        let gap = self.view.columns.saturating_sub(4 + "Backstop".len() + time.len());
        let mut lines = vec![String::new()];
        lines.push(format!(
            "  {}{}{}",
            self.paint(Ink::Bold, "Backstop"),
            " ".repeat(gap),
            self.paint(Ink::Bold, &time)
        ));
        let promise = "A push the phone acknowledges — or, within 30 seconds, a text and an email.";
        lines.push(format!("  {}", cut(promise, self.view.columns - 2)));
        lines.push(String::new());
        for (name, text) in &self.facts {
            let text = cut(text, self.view.columns.saturating_sub(11));
            lines.push(format!("  {:<7} {}", self.paint(Ink::Dim, &format!("{name:<7}")), self.paint(Ink::Dim, &text)));
        }
        lines
    }

    /// Name, phone, the 30 seconds, the outcome and its reason.
    fn row(&self, row: &Row) -> String {
        let width = self.view.columns.saturating_sub(68).clamp(8, 30);
        let (ink, verdict) = row.verdict();
        let share = row.waited_ms.clamp(0, ACK_WAIT_MS) as usize;
        let full = if row.state.is_empty() { 0 } else { (share * width).div_ceil(ACK_WAIT_MS as usize).max(1) };
        let rest = if row.is_waiting() { width - full } else { 0 };
        let blank = width - full - rest;
        let bar = format!(
            "{}{}{}",
            self.paint(ink, &"━".repeat(full)),
            self.paint(Ink::Dim, &"─".repeat(rest)),
            " ".repeat(blank)
        );
        let reason = match row.state.as_str() {
            "fell_back" | "falling_back" | "failed" => format!("· {}", row.reason),
            _ => String::new(),
        };
        format!(
            "  {} {} {bar}  {} {}",
            self.paint(Ink::Bold, &format!("{:<6}", row.name)),
            self.paint(Ink::Dim, &format!("{:<23}", row.about)),
            self.paint(ink, verdict),
            self.paint(Ink::Dim, &reason),
        )
        .trim_end()
        .to_owned()
    }

    fn news_line(&self, news: &News) -> String {
        let time = format!("{:>3}.{:03}", news.at / 1_000, news.at % 1_000);
        let text = cut(&news.text, self.view.columns.saturating_sub(19));
        format!("  {}  {:<6} {text}", self.paint(Ink::Dim, &time), news.name)
    }

    /// A display that went away ends nothing.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The text, or its beginning with an ellipsis.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}
