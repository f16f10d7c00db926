//! The terminal: taken over, drawn to, and left as it was, whatever ends this program but SIGKILL.

use std::io::{self, IsTerminal as _};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock as _, SystemClock};
use base::failure::{Failure, Kind};
use base::shutdown::{Shutdown, TICK};
use crossbeam_channel::{bounded, Receiver, Sender, TryRecvError};
use ratatui::crossterm::event::{self, Event};
use ratatui::DefaultTerminal;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{getpid, kill_process, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::app::{App, Flow, Update};
use super::client::Client;
use super::theme::Theme;
use super::view;

/// Time between two states.
const PACE: Duration = Duration::from_secs(1);

/// States between two looks at the history, whose points are 2 s apart.
const HISTORY_EVERY: u64 = 4;

/// Shows `app`, fed by `client`, until the user or a signal ends it.
pub(super) fn run(client: Client, app: App) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let shutdown = Shutdown::default();
    let (sender, updates) = bounded(4);
    let theirs = shutdown.clone();
    // It is not waited for at the end: a question that nobody answers takes seconds.
    std::thread::Builder::new().name("fetch".to_owned()).spawn(move || fetch(&client, &sender, &theirs))?;
    let result = ratatui::try_init().and_then(|mut terminal| {
        let result = show(&mut terminal, app, &updates, &stop);
        if !io::stdout().is_terminal() {
            // Its drop would complain to a standard error that is gone as well, and panic.
            let _ = ManuallyDrop::new(terminal);
        }
        result
    });
    shutdown.pull();
    let restored = ratatui::try_restore();
    // After a signal, and where the terminal is gone, there is nobody to tell.
    if stop.load(Ordering::SeqCst) || !io::stdout().is_terminal() {
        return Ok(());
    }
    result.and_then(|end| restored.map(|()| end))?.map_or(Ok(()), Err)
}

/// Asks again and again, whatever happens to the daemon.
fn fetch(client: &Client, updates: &Sender<Update>, shutdown: &Shutdown) {
    let mut count = 0_u64;
    while !shutdown.sleep(PACE) {
        count += 1;
        let state = client.state().map(Box::new).map(Update::State);
        let history = (state.is_ok() && count.is_multiple_of(HISTORY_EVERY)).then(|| client.history());
        let lost = |failure: Failure| Update::Lost(failure.to_string());
        let state = state.unwrap_or_else(lost);
        for update in [Some(state), history.and_then(Result::ok).map(Update::History)].into_iter().flatten() {
            if updates.send(update).is_err() {
                return;
            }
        }
    }
}

/// Draws until the end; its failure, where something of this program failed.
fn show(
    terminal: &mut DefaultTerminal,
    mut app: App,
    updates: &Receiver<Update>,
    stop: &AtomicBool,
) -> io::Result<Option<Failure>> {
    let theme = Theme::of_environment();
    let clock = SystemClock;
    let mut drawn = None;
    while !stop.load(Ordering::SeqCst) {
        let mut is_new = false;
        loop {
            match updates.try_recv() {
                Ok(update) => {
                    app.take(update, clock.now());
                    is_new = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Ok(Some(Failure::new(Kind::Software, "the thread that asks the daemon has ended")));
                }
            }
        }
        // Once a second in any case: times go on.
        let now = (clock.now().as_nanos() / 1_000_000_000, terminal.size()?);
        if is_new || drawn != Some(now) {
            terminal.draw(|frame| view::draw(frame, &mut app, theme, clock.now()))?;
            drawn = Some(now);
        }
        match input()? {
            Input::None => continue,
            Input::Gone => return Ok(None),
            Input::Some => {}
        }
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            drawn = None;
            match app.press(key) {
                Flow::Go => {}
                Flow::Quit => return Ok(None),
                // clear() would ask the terminal where its cursor is, and wait for the answer.
                Flow::Redraw => terminal.resize(terminal.size()?.into())?,
                Flow::Suspend => {
                    ratatui::try_restore()?;
                    // Goes on here when the shell brings it back to the front.
                    kill_process(getpid(), Signal::TSTP)?;
                    *terminal = ratatui::try_init()?;
                }
            }
        }
    }
    Ok(None)
}

enum Input {
    None,
    Some,
    Gone,
}

/// Waits a tick for input. crossterm's own wait never ends once the terminal is gone, and takes a core for itself.
fn input() -> io::Result<Input> {
    let stdin = io::stdin();
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    match poll(&mut descriptors, Some(&tick)) {
        Ok(0) | Err(Errno::INTR) => Ok(Input::None),
        Ok(_) if descriptors[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => {
            Ok(Input::Gone)
        }
        Ok(_) => Ok(Input::Some),
        Err(error) => Err(error.into()),
    }
}
