//! Where everything stands on the screen. Whatever the size, nothing panics; what there is no room for is left out, from the
//! least important on.

use base::clock::Instant;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use ratatui::Frame;

use super::app::App;
use super::panels;
use super::theme::Theme;
use crate::telemetry::state::CameraState;

/// From this width on, latency and the board stand beside the classes.
const TWO_COLUMNS: u16 = 72;

/// Draws everything. `now` is the clock of [`App::take`].
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme, now: Instant) {
    let area = frame.area();
    let header = header(app, theme, now, usize::from(area.width));
    let height = u16::try_from(header.len()).unwrap_or(u16::MAX).min(area.height);
    let [top, body, bottom] = Layout::vertical([
        Constraint::Length(height),
        Constraint::Fill(1),
        Constraint::Length(u16::from(area.height > 3)),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header), top);
    if area.width >= TWO_COLUMNS {
        two_columns(frame, app, theme, body);
    } else {
        one_column(frame, app, theme, body);
    }
    let keys = " q quit   up/down classes   s sort   PgUp/PgDn events   ? help";
    frame.render_widget(Paragraph::new(Line::styled(keys, theme.quiet())), bottom);
    if app.shows_help {
        help(frame, app, theme);
    }
}

fn two_columns(frame: &mut Frame<'_>, app: &mut App, theme: Theme, body: Rect) {
    let width = usize::from(body.width);
    let frames = panels::frames(app, theme, width);
    // Events get what the other panels leave, but three lines where there is room at all.
    let events = if body.height >= 18 { 4 } else { 0 };
    let board_width = body.width - body.width / 2;
    let board = panels::board(app, theme, usize::from(board_width));
    let classes = u16::try_from(app.state.model.classes.len()).unwrap_or(u16::MAX);
    let wanted = panels::LATENCY_HEIGHT.saturating_add(height(&board)).max(classes.saturating_add(3));
    let counts = if body.height >= 10 { 1 } else { 0 };
    let middle = wanted.min(body.height.saturating_sub(events + counts));
    let [upper, line, lower] =
        Layout::vertical([Constraint::Length(middle), Constraint::Length(counts), Constraint::Fill(1)]).areas(body);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(board_width)]).areas(upper);
    let left = Rect { width: left.width.saturating_sub(1), ..left };
    frame.render_widget(Paragraph::new(panels::classes(app, theme, left)), left);
    let [latency, rest] =
        Layout::vertical([Constraint::Length(panels::LATENCY_HEIGHT), Constraint::Fill(1)]).areas(right);
    frame.render_widget(Paragraph::new(panels::latency(app, theme, usize::from(latency.width))), latency);
    frame.render_widget(Paragraph::new(board), rest);
    frame.render_widget(Paragraph::new(frames), line);
    frame.render_widget(Paragraph::new(panels::events(app, theme, lower)), lower);
}

fn one_column(frame: &mut Frame<'_>, app: &mut App, theme: Theme, body: Rect) {
    let width = usize::from(body.width);
    let board = panels::board(app, theme, width);
    let classes = 4.min(body.height);
    let mut left = body.height - classes;
    let mut take = |wanted: u16| {
        let taken = if wanted <= left { wanted } else { 0 };
        left -= taken;
        taken
    };
    let heights = [take(panels::LATENCY_HEIGHT), take(height(&board)), take(1), take(5)];
    let [latency, below, line, events] = heights.map(Constraint::Length);
    let [classes, latency, below, line, events] =
        Layout::vertical([Constraint::Fill(1), latency, below, line, events]).areas(body);
    frame.render_widget(Paragraph::new(panels::classes(app, theme, classes)), classes);
    frame.render_widget(Paragraph::new(panels::latency(app, theme, width)), latency);
    frame.render_widget(Paragraph::new(board), below);
    frame.render_widget(Paragraph::new(panels::frames(app, theme, width)), line);
    frame.render_widget(Paragraph::new(panels::events(app, theme, events)), events);
}

fn height(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

/// Program, readiness, camera, engine, and what is wrong.
fn header(app: &App, theme: Theme, now: Instant, width: usize) -> Vec<Line<'static>> {
    let state = &app.state;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (ready, style) = if state.ready { ("READY", theme.good()) } else { ("NOT READY", theme.bad()) };
    let fps = state.fps.map_or_else(|| "fps unknown".to_owned(), |fps| format!("{fps:.1} fps"));
    let about = format!(
        "   {fps}   {}   up {}   pspnetd {}   {}",
        state.model.name,
        panels::duration(state.program.uptime_seconds),
        state.program.version,
        app.place
    );
    let about = panels::fit(&about, width.saturating_sub(ready.len() + 1), theme);
    let mut lines = vec![Line::from(vec![Span::styled(format!(" {ready}"), style), Span::styled(about, bold)])];
    if let Some((since, reason)) = &app.lost {
        let seconds = now.since(*since).as_secs_f64();
        let text = format!(" NO CONNECTION for {}, trying again: {reason}", panels::duration(seconds));
        lines.push(Line::styled(panels::fit(&text, width, theme), theme.bad()));
    }
    if !state.reasons.is_empty() {
        let text = format!(" not ready: {}", state.reasons.join("; "));
        lines.push(Line::styled(panels::fit(&text, width, theme), theme.warning()));
    }
    let camera = format!(" camera {}: {}", state.camera.state.name(), state.camera.text);
    let style = if state.camera.state == CameraState::Running { Style::new() } else { theme.warning() };
    lines.push(Line::styled(panels::fit(&camera, width, theme), style));
    let engine = &state.engine;
    let mut text = format!(" engine {}", engine.kind);
    if engine.workers > 0 {
        text += &format!(": {} of {} up", engine.up, engine.workers);
        let reason = engine.reason.as_ref().filter(|_| engine.up < engine.workers);
        text += &reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        text += &format!(" (faults {}, frames by the CPU {})", engine.faults, engine.fallback_frames);
    }
    let style = if engine.up < engine.workers { theme.warning() } else { Style::new() };
    lines.push(Line::styled(panels::fit(&text, width, theme), style));
    lines
}

const HELP: [&str; 15] = [
    "q, Esc, Ctrl-C   quit",
    "up, down (k, j)  move through the classes",
    "s                sort them by share, or as in the model",
    "PgUp, PgDn       older and newer events",
    "Home, End        the oldest, the newest events",
    "Ctrl-Z           to the shell; fg comes back",
    "Ctrl-L           draw everything anew",
    "?                this help",
    "",
    "Classes: share of the last class map, a bar of it, and the last",
    "minutes, as high as beside the class's own highest share.",
    "[name] is a group of classes.",
    "Latency is of the last seconds, in milliseconds.",
    "J/frame is of the last telemetry.interval.",
    "What is unknown is shown as -.",
];

fn help(frame: &mut Frame<'_>, app: &App, theme: Theme) {
    let area = frame.area();
    let width = area.width.min(68);
    let height = area.height.min(HELP.len() as u16 + 2);
    let inside = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let mut lines = vec![panels::title(&format!("pspnetd top: {}", app.place), usize::from(width), theme)];
    lines.extend(HELP.iter().map(|text| Line::raw(format!(" {text}"))));
    lines.push(Line::raw(theme.rule(usize::from(width))));
    frame.render_widget(Clear, inside);
    frame.render_widget(Paragraph::new(lines), inside);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;

    use super::super::app::Update;
    use super::*;
    use crate::telemetry::example;
    use crate::telemetry::sensors::Rail;
    use crate::telemetry::state::{Area, Class, State};

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn app(edit: impl FnOnce(&mut State)) -> App {
        let mut state = example::state();
        edit(&mut state);
        App::new(state, example::history(), "/run/pspnetd/pspnetd.sock".to_owned())
    }

    /// The screen as text, spaces at the ends of lines aside.
    fn screen(app: &mut App, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app, Theme::plain(), at(100))).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
        (0..height).map(row).collect()
    }

    /// `tests/data/top/<name>.txt` has the screen as a person found it right. `PSPNETD_TEST_WRITE=1` writes it anew.
    #[track_caller]
    fn holds(name: &str, screen: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/top").join(format!("{name}.txt"));
        if std::env::var_os("PSPNETD_TEST_WRITE").is_some() {
            std::fs::write(&path, screen).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(screen == expected, "{name}: expected\n{expected}\ngot\n{screen}");
    }

    #[test]
    fn eighty_by_twenty_four_shows_everything() {
        holds("80x24", &screen(&mut app(|_| {}), 80, 24));
    }

    #[test]
    fn a_large_terminal_is_used() {
        holds("140x40", &screen(&mut app(|_| {}), 140, 40));
    }

    #[test]
    fn a_small_terminal_shows_the_most_important() {
        holds("60x32", &screen(&mut app(|_| {}), 60, 32));
        holds("40x10", &screen(&mut app(|_| {}), 40, 10));
    }

    #[test]
    fn what_is_wrong_is_at_the_top() {
        let mut app = app(|state| {
            state.ready = false;
            state.reasons = vec!["no camera".to_owned(), "no result for 12 s".to_owned()];
            state.camera.state = CameraState::Waiting;
            state.camera.text = "no camera at /dev/v4l/by-id/usb-x: plug it in".to_owned();
            (state.result, state.fps, state.board) = (None, None, None);
            state.latency.iter_mut().for_each(|stage| (stage.n, stage.p50_ms, stage.p90_ms) = (0, None, None));
        });
        app.take(Update::Lost("/run/pspnetd/pspnetd.sock: no daemon answers".to_owned()), at(30));
        holds("trouble", &screen(&mut app, 80, 24));
    }

    #[test]
    fn the_help_names_every_key() {
        let mut app = app(|_| {});
        app.shows_help = true;
        holds("help", &screen(&mut app, 80, 24));
    }

    #[test]
    fn many_classes_are_scrolled_and_sorted() {
        let mut app = app(|state| {
            let names = (0..150_u8).map(|id| (id, format!("class {id}")));
            state.model.classes =
                names.clone().map(|(id, name)| Class { id, name, color: "#102030".to_owned() }).collect();
            let areas = names.map(|(id, name)| Area { name, share: f64::from(id) / 11_175.0 });
            state.result.as_mut().unwrap().classes = areas.collect();
        });
        app.first_class = 148;
        holds("many", &screen(&mut app, 80, 24));
        assert!(app.first_class < 148, "it was brought back to the last full page");
        app.by_share = true;
        app.first_class = 0;
        let text = screen(&mut app, 80, 24);
        assert!(text.lines().nth(4).unwrap().starts_with(" class 149"), "{text}");
        app.events_back = usize::MAX;
        assert!(screen(&mut app, 80, 24).contains("pspnetd 0.1.0, configuration"));
    }

    #[test]
    fn no_size_and_no_state_makes_it_panic() {
        let odd = |state: &mut State| {
            let nothing = f64::NAN;
            state.result.as_mut().unwrap().classes[0].share = nothing;
            state.result.as_mut().unwrap().classes[1].share = f64::INFINITY;
            state.result.as_mut().unwrap().age_seconds = nothing;
            state.program.uptime_seconds = f64::INFINITY;
            state.model.classes.clear();
            state.latency.clear();
            state.engine.up = u64::MAX;
            state.frames.frames_in = u64::MAX;
            state.camera.text = "日本語".repeat(60);
        };
        for (width, height) in (0..100).step_by(7).flat_map(|width| (0..40).map(move |height| (width, height))) {
            for shows_help in [false, true] {
                let mut plain = app(|_| {});
                let mut strange = app(odd);
                (plain.shows_help, strange.shows_help) = (shows_help, shows_help);
                screen(&mut plain, width, height);
                screen(&mut strange, width, height);
            }
        }
        let mut endless = app(|state| {
            let class = state.model.classes[0].clone();
            state.model.classes = vec![class; usize::from(u16::MAX)];
            let board = state.board.as_mut().unwrap();
            let rail = board.rails[0].clone();
            board.rails = vec![Rail { name: "long".repeat(10), ..rail }; usize::from(u16::MAX)];
        });
        screen(&mut endless, 80, 24);
        let mut empty = app(|state| (state.events, state.sinks, state.result) = (Vec::new(), Vec::new(), None));
        empty.history = crate::telemetry::state::History::default();
        screen(&mut empty, 80, 24);
    }
}
