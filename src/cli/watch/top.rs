//! `roadstead top`: a server in a terminal, until somebody ends it.

use std::{
    collections::VecDeque,
    io::{IsTerminal, stdin, stdout},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Paragraph, Sparkline},
};
use roadstead_tuning::setting::demand::grouped;

use super::{
    Place, WatchFailure,
    feed::{Feed, Governed},
    said::rate,
    seen::{Seen, State, View},
    status::{heading, shown, summary, table, told},
};

/// How often keys are looked for.
const GLANCE: Duration = Duration::from_millis(100);
/// How long until a server that has gone is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Looks kept for the curves: as many as a wide terminal has columns.
const PAST: usize = 400;
/// Lines for which server it is, how it stands, and why.
const HEADING_LINES_MAX: usize = 4;
/// Looks for which something that has gone wrong is shown.
const TROUBLES_SHOWN: usize = 60;

/// What is shown.
struct Screen {
    at: String,
    before: Option<Seen>,
    view: View,
    governed: Vec<Governed>,
    /// Connections, and deliveries per second, the newest last.
    past: [VecDeque<u64>; 2],
    /// What has gone wrong lately, the newest first, and how many looks ago.
    troubles: VecDeque<(usize, String)>,
    /// Why there is nothing new.
    failure: Option<String>,
}

/// What the thread that listens to the server says.
enum News {
    Look(Box<Seen>, Vec<Governed>),
    Failed(String),
}

/// Shows the server there until somebody ends it.
pub(super) fn run(place: Place) -> Result<(), WatchFailure> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(WatchFailure::NoTerminal);
    }
    // Whoever has mistyped the address reads so on the screen that was there.
    let feed = Feed::open(&place)?;
    let mut screen = Screen::new(place.to_string());
    let news = listen(feed, place);
    let mut terminal = ratatui::try_init().map_err(WatchFailure::Terminal)?;
    let shown = screen.show(&mut terminal, &news);
    ratatui::restore();
    shown.map_err(WatchFailure::Terminal)
}

/// Listens to the server on a thread of its own, which ends with the process.
fn listen(feed: Feed, place: Place) -> Receiver<News> {
    let (said, news) = channel();
    thread::spawn(move || {
        let mut feed = Some(feed);
        loop {
            let look = match &mut feed {
                Some(open) => {
                    open.next().map(|look| News::Look(Box::new(look.seen), open.troubles().to_vec()))
                }
                None => {
                    thread::sleep(AGAIN);
                    match Feed::open(&place) {
                        Ok(open) => {
                            feed = Some(open);
                            continue;
                        }
                        Err(error) => Err(WatchFailure::Lost(std::io::Error::other(error.to_string()))),
                    }
                }
            };
            let news = look.unwrap_or_else(|failure| {
                feed = None;
                News::Failed(failure.to_string())
            });
            if said.send(news).is_err() {
                return;
            }
        }
    });
    news
}

impl Screen {
    fn new(at: String) -> Self {
        Self {
            at,
            before: None,
            view: View::default(),
            governed: Vec::new(),
            past: Default::default(),
            troubles: VecDeque::new(),
            failure: None,
        }
    }

    fn show(&mut self, terminal: &mut DefaultTerminal, news: &Receiver<News>) -> std::io::Result<()> {
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            while event::poll(GLANCE)? {
                match event::read()? {
                    Event::Key(key) if ends(key) => return Ok(()),
                    Event::Resize(..) => break,
                    _ => {}
                }
            }
            loop {
                match news.try_recv() {
                    Ok(News::Look(seen, governed)) => self.take(*seen, governed),
                    Ok(News::Failed(why)) => {
                        self.failure = Some(why);
                        self.before = None;
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
        }
    }

    fn take(&mut self, seen: Seen, governed: Vec<Governed>) {
        (self.governed, self.failure) = (governed, None);
        let before = self.before.replace(seen.clone());
        let is_first = before.is_none();
        self.view = View::between(&before.unwrap_or_else(|| seen.clone()), &seen);
        if is_first {
            return;
        }
        let points = [self.view.sum.connections, self.view.sum.deliveries.round() as u64];
        for (past, point) in self.past.iter_mut().zip(points) {
            past.push_back(point);
            past.drain(..past.len().saturating_sub(PAST));
        }
        for (age, _) in &mut self.troubles {
            *age += 1;
        }
        for trouble in told(&self.view, &self.governed) {
            self.troubles.push_front((0, trouble));
        }
        self.troubles.retain(|(age, _)| *age < TROUBLES_SHOWN);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let summary = summary(&self.view);
        let (channels, troubles) = (self.view.busiest.len(), self.troubles.len());
        let width = usize::from(frame.area().width);
        let (colour, text) = self.heading();
        let heading: Vec<_> =
            wrapped(&text, width).into_iter().take(HEADING_LINES_MAX).map(Line::from).collect();
        let [head, numbers, curves, shards, busiest, wrong, foot] = Layout::vertical([
            Constraint::Length(heading.len() as u16),
            Constraint::Length(summary.len() as u16 + 1),
            Constraint::Length(5),
            Constraint::Min(3),
            Constraint::Length(if channels == 0 { 0 } else { channels.min(8) as u16 + 1 }),
            Constraint::Length(if troubles == 0 { 0 } else { troubles.min(5) as u16 + 1 }),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let style = Style::new().fg(colour).add_modifier(Modifier::BOLD);
        frame.render_widget(Paragraph::new(heading).style(style), head);
        let lines = summary
            .into_iter()
            .map(|(name, line)| Line::from(vec![Span::from(format!("{name:<12} ")).dim(), Span::from(line)]));
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), numbers);
        self.draw_curves(frame, curves);
        self.draw_shards(frame, shards);
        let channel = |busy: &super::seen::Busy| {
            let (published, delivered) = (rate(busy.publications), rate(busy.deliveries));
            format!("{published:>12} published {delivered:>12} delivered  {}", shown(&busy.channel))
        };
        let busy = self.view.busiest.iter().take(8).map(channel);
        frame.render_widget(list("busiest channels", busy), busiest);
        let ago = |(age, text): &(usize, String)| format!("{age:>4} s ago  {text}");
        frame.render_widget(
            list("gone wrong in the last minute", self.troubles.iter().take(5).map(ago)),
            wrong,
        );
        frame.render_widget(Paragraph::new("q ends").dim(), foot);
    }

    fn heading(&self) -> (Color, String) {
        let colour = match (&self.failure, self.view.state) {
            (None, State::Ready) => Color::Green,
            (Some(_), _) | (None, State::Silent(..)) => Color::Red,
            (None, _) => Color::Yellow,
        };
        let text = match &self.failure {
            Some(why) => format!("{}: {why}", self.at),
            None if self.before.is_none() => format!("{}: waiting for its first word", self.at),
            None => heading(&self.at, &self.view).trim_end().to_owned(),
        };
        (colour, text)
    }

    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let halves =
            Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas::<2>(area);
        let names = ["connections", "delivered per second"];
        for ((past, name), area) in self.past.iter().zip(names).zip(halves) {
            let visible = past.iter().rev().take(usize::from(area.width)).rev().copied();
            let points: Vec<_> = visible.collect();
            let most = points.iter().copied().max().unwrap_or_default();
            let title = format!("{name}, at most {}", grouped(most));
            let curve = Sparkline::default().block(Block::new().title(title.dim())).data(&points);
            frame.render_widget(curve, area);
        }
    }

    fn draw_shards(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = table(&self.view, usize::from(area.width)).into_iter().enumerate();
        let lines =
            lines.map(|(number, line)| if number == 0 { Line::from(line).dim() } else { line.into() });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
    }
}

/// A title and lines below it; nothing where there are no lines.
fn list(title: &'static str, lines: impl Iterator<Item = String>) -> Paragraph<'static> {
    let lines: Vec<_> = lines.map(Line::from).collect();
    match lines.is_empty() {
        true => Paragraph::default(),
        false => Paragraph::new(lines).block(Block::new().title(title.dim())),
    }
}

fn ends(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let is_end = match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => is_control,
        _ => false,
    };
    key.kind == KeyEventKind::Press && is_end
}

/// A text in lines of no more than so many characters, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::cli::watch::seen::tests::looks;

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal of memory");
        terminal.draw(|frame| screen.draw(frame)).expect("it draws");
        terminal.backend().to_string()
    }

    #[test]
    fn a_server_is_drawn_whole_on_a_screen_of_80_by_24_and_survives_a_smaller_one() {
        let mut screen = Screen::new("127.0.0.1:8081".to_owned());
        assert!(drawn(&screen, 80, 24).contains("waiting for its first word"));
        let governed = vec![Governed { label: "refused".into(), setting: "limits.x".into() }; 2];
        for seen in looks() {
            screen.take(seen, governed.clone());
        }
        let text = drawn(&screen, 80, 24);
        for part in [
            "roadstead 0.1.0 at 127.0.0.1:8081, up 1 min 1 s: ready",
            "13 of 20,000",
            "delivered per second, at most 4,000",
            "50 %",
            "4,000/s delivered  news",
            "0 s ago  4 × refused (limits.x)",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        screen.view.state = State::NoBroker;
        let text = drawn(&screen, 80, 24).replace("\"\n\"", " ");
        let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            whole.contains("up 1 min 1 s: not ready: the broker that joins the nodes is away (broker.url);"),
            "{whole}"
        );
        assert!(whole.contains("13 of 20,000") && whole.contains("4 × refused"), "{whole}");
        drawn(&screen, 20, 5);
        screen.failure = Some("the server has ended".to_owned());
        assert!(drawn(&screen, 80, 24).contains("127.0.0.1:8081: the server has ended"));
    }
}
