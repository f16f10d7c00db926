//! A USB camera without hardware: a UVC device that speaks USB/IP with the kernel's virtual host controller, `vhci_hcd`.
//! The kernel's own uvcvideo drives it like any other camera, it can be unplugged, and it misbehaves when told to.
//!
//! For the board lab (docs/board-lab.md). Needs root and `modprobe vhci_hcd`. The kernel's gadget drivers would not do:
//! `dummy_hcd` fails every isochronous transfer, and `usb_f_uvc` has no others.
//!
//! It sends three stripes as MJPEG or YUYV: from the left half of the picture red, a third green, a sixth blue. Commands are
//! lines on standard input: `plug`, `unplug`, `quit`, and how frames are from now on, `good`, `bare`, `padded`, `truncated`,
//! `faulty`, `empty`, `noise` or `silent`; with a number behind it, so many frames are so, and then they are good again.
#![allow(clippy::print_stdout)]

mod control;
mod descriptors;
mod picture;
mod stream;
mod wire;

use std::io::{self, BufRead};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use control::{Answer, Control};
use picture::Mode;
use stream::Stream;
use wire::Request;

const ATTACH: &str = "/sys/devices/platform/vhci_hcd.0/attach";
/// The kernel's number for USB 2's high speed.
const HIGH_SPEED: u32 = 3;
/// How long the port may take to be free after unplugging.
const PORT_LIMIT: Duration = Duration::from_secs(5);
/// How long the host may take to read an answer.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// A USB camera for the kernel's virtual host controller. Reads commands from standard input.
#[derive(Parser)]
struct Arguments {
    /// The host controller's port that it is plugged into, 0 to 14.
    #[arg(long, default_value_t = 0)]
    port: u32,
    /// Its serial number: udev names it by that, and two cameras at once need two.
    #[arg(long, default_value = "0001")]
    serial: String,
}

enum Event {
    /// From the host that plug number .0 made.
    Host(u64, io::Result<Request>),
    Command(String),
    /// Standard input has ended.
    End,
}

/// A camera that is plugged in.
struct Plugged {
    host: UnixStream,
    control: Control,
    stream: Stream,
}

struct Camera {
    port: u32,
    serial: String,
    plugs: u64,
    plugged: Option<Plugged>,
    mode: Mode,
    /// How many frames the mode lasts; `None` means until another is commanded.
    lasts: Option<u32>,
    events: Sender<Event>,
}

fn main() -> ExitCode {
    let (sender, receiver) = mpsc::channel();
    let commands = sender.clone();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = commands.send(Event::Command(line));
        }
        let _ = commands.send(Event::End);
    });
    let Arguments { port, serial } = Arguments::parse();
    let camera = Camera { port, serial, plugs: 0, plugged: None, mode: Mode::Good, lasts: None, events: sender };
    match camera.run(&receiver) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

impl Camera {
    fn run(mut self, events: &Receiver<Event>) -> io::Result<()> {
        loop {
            let event = match self.plugged.as_ref().and_then(|plugged| plugged.stream.due()) {
                Some(due) => events.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Event::Command(line)) if line.trim() == "quit" => break,
                Ok(Event::Command(line)) => self.command(&line)?,
                Ok(Event::Host(plug, request)) if plug == self.plugs => {
                    if let Err(error) = request.and_then(|request| self.request(request)) {
                        self.gone(&error);
                    }
                }
                // From before it was unplugged.
                Ok(Event::Host(..)) | Err(RecvTimeoutError::Timeout) => {}
            }
            if let Err(error) = self.send_due() {
                self.gone(&error);
            }
        }
        self.unplug();
        Ok(())
    }

    fn command(&mut self, line: &str) -> io::Result<()> {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { return Ok(()) };
        match (first, Mode::named(first)) {
            ("plug", _) => self.plug()?,
            ("unplug", _) => self.unplug(),
            (_, Some(mode)) => {
                self.mode = mode;
                self.lasts = words.next().and_then(|count| count.parse().ok());
                say(&format!("frames: {}", line.trim()));
            }
            _ => say(&format!("unknown command: {line}")),
        }
        Ok(())
    }

    fn plug(&mut self) -> io::Result<()> {
        self.unplug();
        let (host, kernels) = UnixStream::pair()?;
        host.set_write_timeout(Some(WRITE_LIMIT))?;
        // The last two are the device's number, any, and its speed.
        let words = format!("{} {} {} {HIGH_SPEED}", self.port, kernels.as_raw_fd(), 1);
        let start = Instant::now();
        while let Err(error) = std::fs::write(ATTACH, &words) {
            if start.elapsed() > PORT_LIMIT {
                let text = format!("'{words}' could not be written to {ATTACH}: {error}; is vhci_hcd loaded?");
                return Err(io::Error::new(error.kind(), text));
            }
            thread::sleep(Duration::from_millis(10));
        }
        say("plugged in");
        self.plugs += 1;
        let (plug, mut from, events) = (self.plugs, host.try_clone()?, self.events.clone());
        thread::spawn(move || loop {
            let request = wire::read(&mut from);
            let last = request.is_err();
            if events.send(Event::Host(plug, request)).is_err() || last {
                break;
            }
        });
        self.plugged = Some(Plugged { host, control: Control::new(&self.serial), stream: Stream::default() });
        Ok(())
    }

    fn unplug(&mut self) {
        if let Some(plugged) = self.plugged.take() {
            // The reading thread has a copy of the descriptor: only this ends the connection.
            let _ = plugged.host.shutdown(Shutdown::Both);
            say("unplugged");
        }
    }

    /// The host ended the connection, or broke the protocol.
    fn gone(&mut self, error: &io::Error) {
        if self.plugged.is_some() {
            say(&format!("the host has gone: {error}"));
            self.unplug();
        }
    }

    fn request(&mut self, request: Request) -> io::Result<()> {
        let Some(Plugged { host, control, stream }) = &mut self.plugged else { return Ok(()) };
        match request {
            Request::Submit(transfer) if transfer.endpoint == 0 => {
                let (status, answer) = match control.answer(transfer.setup, &transfer.data) {
                    Answer::Good(bytes) => (0, bytes),
                    Answer::Stall => (wire::STALLED, Vec::new()),
                };
                wire::answer(host, transfer.number, status, transfer.data.len(), &answer)?;
                if stream.choose(control.streaming(), Instant::now())? {
                    match control.streaming() {
                        Some(choice) => say(&format!("streams {choice}")),
                        None => say("streams no more"),
                    }
                }
                Ok(())
            }
            Request::Submit(transfer) => {
                stream.add(transfer);
                Ok(())
            }
            Request::Unlink { number, of } => wire::answer_unlink(host, number, stream.remove(of)),
        }
    }

    fn send_due(&mut self) -> io::Result<()> {
        let Some(plugged) = &mut self.plugged else { return Ok(()) };
        if plugged.stream.begin(self.mode, Instant::now()) {
            self.lasts = self.lasts.map(|left| left.saturating_sub(1));
            if self.lasts == Some(0) {
                self.lasts = None;
                self.mode = Mode::Good;
            }
        }
        plugged.stream.send(&mut plugged.host)
    }
}

/// Prints a line with the time of day in seconds since 1970, to be compared with other programs' time stamps.
fn say(what: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("{:.3} {what}", now.as_secs_f64());
}
