//! The worker process itself: what `pspnetd worker` runs. It takes one order from its standard input, locks itself up, and
//! answers requests until the program that started it is gone.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock as _, SystemClock};
use rustix::io::Errno;
use rustix::net::{recv, recvmsg, send, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use rustix::process::{set_dumpable_behavior, setrlimit, DumpableBehavior, Pid, Resource, Rlimit};

use super::super::buffer::{InputView, OutputView};
use super::super::{list, Delegate, DelegateKind, Engine, Fault, TfliteEngine};
use super::sandbox::Role;
use super::wire::{Answer, Order, Reply, Request, Run, Task, LONGEST};
use super::{sandbox, test_picture, Ready};

/// Descriptors that come with an order, at most.
const MOST_FILES: usize = 3;
/// How long it looks out for the next request before it sleeps.
const LOOK_OUT: Duration = Duration::from_micros(50);

/// Serves the program that started this process, until that is gone.
///
/// # Errors
/// When standard input is not that program's socket, or the system refuses what every process may have.
pub fn run() -> io::Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    // Nothing that a library reads from its standard input may take a request away.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let (order, files) = receive_order(&socket)?;
    confine(&order)?;
    for missing in sandbox::enter(role(&order.task)) {
        say(&format!("WARNING: sandbox: {missing}"));
    }
    match order.task {
        Task::List { library } => send_answer(&socket, &list(&library).map_or_else(Answer::Failed, Answer::Listed)),
        Task::Run(run) => match prepare(&run, files) {
            Ok((mut served, answer)) => {
                send_answer(&socket, &answer)?;
                served.serve(&socket)
            }
            Err(fault) => send_answer(&socket, &Answer::Failed(fault)),
        },
    }
}

/// What will run here.
fn role(task: &Task) -> Role<'_> {
    let delegate = match task {
        Task::List { library } => return Role::EdgeTpu(library),
        Task::Run(run) => run.delegate.as_ref(),
    };
    delegate.map_or(Role::Cpu, |delegate| match delegate.kind {
        DelegateKind::EdgeTpu(_) => Role::EdgeTpu(&delegate.library),
        DelegateKind::Plugin => Role::Plugin(&delegate.library, &delegate.options),
    })
}

fn receive_order(socket: &OwnedFd) -> io::Result<(Order, Vec<OwnedFd>)> {
    let mut message = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // No limit: without an order there is nothing to do, and the system kills this process with the one that gives it.
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::with_capacity(MOST_FILES);
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            files.extend(received);
        }
    }
    let order = serde_json::from_slice(&message[..received.bytes])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((order, files))
}

/// Ends with its parent, leaves no core file behind, gains no rights.
fn confine(order: &Order) -> io::Result<()> {
    let parent = Pid::from_raw(order.parent).ok_or(io::ErrorKind::InvalidData)?;
    base::child::die_with(parent)?;
    // Whoever leads a session gets the first terminal that it opens without O_NOCTTY, such as the serial line of a device, and
    // a SIGHUP when that line goes. A library learns of that by its own reading; the process goes on.
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default())?;
    rustix::thread::set_no_new_privs(true)?;
    // Not looked into by other processes of the same user, and no core file, which would be as large as the model, for every
    // abort of a device that aborts all day.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A service manager's filter may refuse this one; the line above does most of it.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        say(&format!("WARNING: sandbox: core files: {error}"));
    }
    if let Task::Run(run) = &order.task {
        if let Some(bytes) = run.memory {
            limit_memory(bytes);
        }
    }
    Ok(())
}

/// RLIMIT_DATA counts what is private and can be written: the heap, and stacks of threads. RLIMIT_AS would also count what is only
/// reserved, as the C library does for every thread, so its figure would have nothing to do with what a model needs.
fn limit_memory(bytes: u64) {
    if let Err(error) = setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) }) {
        say(&format!("WARNING: sandbox: memory: {error}"));
    }
}

/// An engine with the memory that its frames lie in.
struct Served {
    engine: TfliteEngine,
    inputs: InputView,
    output: OutputView,
}

fn prepare(run: &Run, files: Vec<OwnedFd>) -> Result<(Served, Answer), Fault> {
    let system = |what: &'static str| move |error: io::Error| Fault::System { text: format!("{what}: {error}") };
    let all: Result<[OwnedFd; MOST_FILES], _> = files.try_into();
    let [inputs, output, model] = all.map_err(|files: Vec<_>| Fault::System {
        text: format!("{} of {MOST_FILES} descriptors came (too many open files?)", files.len()),
    })?;
    let mut bytes = Vec::new();
    File::from(model).read_to_end(&mut bytes).map_err(system("the model"))?;
    let delegate = run.delegate.as_ref().map(Delegate::open).transpose()?;
    let version = delegate.as_ref().and_then(Delegate::version).map(str::to_owned);
    let device = delegate.as_ref().and_then(Delegate::device).map(str::to_owned);
    let mut engine = TfliteEngine::with_delegate(&bytes.into(), &run.model_name, run.threads, delegate)?;
    let found = format!("{:?}", engine.io());
    if found != run.io && run.delegate.is_none() {
        let (inputs, outputs) = engine.ends();
        return Err(Fault::Ends { inputs, outputs });
    }
    if found != run.io {
        return Err(Fault::Model { text: format!("its ends are {found}, expected {}", run.io), words: Vec::new() });
    }
    let inputs = InputView::new(inputs, run.inputs).map_err(system("shared memory"))?;
    let mut output = OutputView::new(output, engine.io().output.bytes()).map_err(system("shared memory"))?;
    let picture = test_picture(&engine.io().input);
    let start = SystemClock.now();
    engine.infer(&picture, output.bytes_mut()).map_err(|error| Fault::Inference { words: vec![error.0] })?;
    let try_out = SystemClock.now().since(start);
    let ready = Ready { version, device, describe: engine.describe(), try_out, answer: Vec::new() };
    Ok((Served { engine, inputs, output }, Answer::Ready(ready)))
}

impl Served {
    fn serve(&mut self, socket: &OwnedFd) -> io::Result<()> {
        let mut message = [0; Request::BYTES + 1];
        let mut bytes = Vec::with_capacity(LONGEST);
        loop {
            let length = match receive(socket, &mut message) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let request = Request::parse(&message[..length]).ok_or(io::ErrorKind::InvalidData)?;
            let reply = Reply { number: request.number, outcome: self.infer(request) };
            bytes.clear();
            reply.write(&mut bytes);
            send(socket, &bytes, SendFlags::NOSIGNAL)?;
        }
    }

    fn infer(&mut self, request: Request) -> Result<Duration, Fault> {
        let no_place = || Fault::System { text: format!("there is no place for {request:?}") };
        let input = self.inputs.place(request.input as usize).ok_or_else(no_place)?;
        let start = SystemClock.now();
        self.engine.infer(input, self.output.bytes_mut()).map_err(|error| Fault::Inference { words: vec![error.0] })?;
        Ok(SystemClock.now().since(start))
    }
}

/// The next request. Looks out for it before it sleeps: where frames come one after the other, it is there before a sleeping
/// core would have woken up. At a camera's pace that is a wait in vain of a thousandth of the time.
fn receive(socket: &OwnedFd, message: &mut [u8]) -> rustix::io::Result<usize> {
    let end = SystemClock.now().after(LOOK_OUT);
    while SystemClock.now() < end {
        match recv(socket, &mut *message, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => std::hint::spin_loop(),
            received => return received.map(|(length, _)| length),
        }
    }
    // No limit, as above.
    recv(socket, message, RecvFlags::empty()).map(|(length, _)| length)
}

fn send_answer(socket: &OwnedFd, answer: &Answer) -> io::Result<()> {
    send(socket, &serde_json::to_vec(answer)?, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Writes a line for the log of the program that started this one.
fn say(line: &str) {
    use std::io::Write as _;
    // Nobody may be left to hear it.
    let _ = writeln!(io::stderr(), "{line}");
}
