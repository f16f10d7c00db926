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
use rustix::thread::{capabilities, set_capabilities, CapabilitySet, CapabilitySets};

use super::super::buffer::{InputView, OutputView};
use super::super::{list, Delegate, DelegateKind, Engine, Fault, TfliteEngine};
use super::sandbox::Role;
use super::wire::{Answer, Load, Order, Reply, Request, Run, Serve, Task, LONGEST, MOST_FILES};
use super::{sandbox, test_picture, MakeService, Ready, Service};

/// Descriptors that a worker on the CPU may have.
const MOST_DESCRIPTORS: u64 = 16;
/// How long it looks out for the next request before it sleeps.
const LOOK_OUT: Duration = Duration::from_micros(50);

/// Serves the program that started this process, until that is gone. `make` is asked for what the program does here itself.
///
/// # Errors
/// When standard input is not that program's socket, or the system refuses what every process may have.
pub fn run(make: MakeService) -> io::Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    // Nothing that a library reads from its standard input may take a request away.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut message = vec![0; LONGEST];
    // No limit: without an order there is nothing to do, and the system kills this process with the one that gives it.
    let (length, files) = receive_with_files(&socket, &mut message)?;
    let order: Order = serde_json::from_slice(&message[..length])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    confine(&order)?;
    for missing in sandbox::enter(role(&order)) {
        say(&format!("WARNING: sandbox: {missing}"));
    }
    let failed = |fault| send_answer(&socket, &Answer::Failed(fault));
    match order.task {
        Task::List { library } => send_answer(&socket, &list(&library).map_or_else(Answer::Failed, Answer::Listed)),
        Task::Run(run) => match prepare(&run, files) {
            Ok((mut served, ready)) => {
                send_answer(&socket, &Answer::Ready(ready))?;
                served.serve(&socket)
            }
            Err(fault) => failed(fault),
        },
        Task::Serve(serve) => match prepare_service(&serve, files, make) {
            Ok((mut service, ready)) => {
                send_answer(&socket, &Answer::Ready(ready))?;
                answer_requests(service.as_mut(), &socket, &mut message)
            }
            Err(fault) => failed(fault),
        },
    }
}

/// What will run here.
fn role(order: &Order) -> Role<'_> {
    if let Task::List { library } = &order.task {
        return Role::EdgeTpu(library);
    }
    order.load().and_then(|load| load.delegate.as_ref()).map_or(Role::Cpu, |delegate| match delegate.kind {
        DelegateKind::EdgeTpu(_) => Role::EdgeTpu(&delegate.library),
        DelegateKind::Plugin => Role::Plugin(&delegate.library, &delegate.options),
    })
}

/// The next message, with its descriptors. No bytes where the program is gone.
fn receive_with_files(socket: &OwnedFd, message: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::with_capacity(MOST_FILES);
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            files.extend(received);
        }
    }
    Ok((received.bytes, files))
}

/// Ends with its parent, leaves no core file behind, gains no rights.
fn confine(order: &Order) -> io::Result<()> {
    let parent = Pid::from_raw(order.parent).ok_or(io::ErrorKind::InvalidData)?;
    base::child::die_with(parent)?;
    // Whoever leads a session gets the first terminal that it opens without O_NOCTTY, such as the serial line of a device, and
    // a SIGHUP when that line goes. A library learns of that by its own reading; the process goes on.
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default())?;
    rustix::thread::set_no_new_privs(true)?;
    let is_cpu = matches!(role(order), Role::Cpu);
    if let Err(error) = drop_capabilities(is_cpu) {
        say(&format!("WARNING: sandbox: what runs the model keeps root's rights: {error}"));
    }
    // Where memory runs out, this process goes before the one that starts another.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "500") {
        say(&format!("WARNING: sandbox: the order in which processes are killed where memory runs out: {error}"));
    }
    if is_cpu {
        // What it opened by now, and what comes with a request. Each descriptor that it kept would hold memory.
        let limit = Rlimit { current: Some(MOST_DESCRIPTORS), maximum: Some(MOST_DESCRIPTORS) };
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            say(&format!("WARNING: sandbox: descriptors: {error}"));
        }
    }
    // Not looked into by other processes of the same user, and no core file, which would be as large as the model, for every
    // abort of a device that aborts all day.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A service manager's filter may refuse this one; the line above does most of it.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        say(&format!("WARNING: sandbox: core files: {error}"));
    }
    if let Some(bytes) = order.load().and_then(|load| load.memory) {
        limit_memory(bytes);
    }
    Ok(())
}

/// Gives up what root may do beyond others, where the program runs as root. A device's library may lie where only its owner reads.
fn drop_capabilities(is_cpu: bool) -> io::Result<()> {
    let files = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let permitted = capabilities(None)?.permitted;
    // In the unit there are none, and its filter refuses the call.
    if permitted.is_empty() {
        return Ok(());
    }
    let kept = permitted & if is_cpu { CapabilitySet::empty() } else { files };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
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

fn prepare(run: &Run, files: Vec<OwnedFd>) -> Result<(Served, Ready), Fault> {
    let [model, inputs, output] = all(files)?;
    let loaded = Loaded::new(&run.load, model)?;
    let inputs = InputView::new(inputs, run.inputs).map_err(system("shared memory"))?;
    let mut output = OutputView::new(output, loaded.engine.io().output.bytes()).map_err(system("shared memory"))?;
    let (engine, ready) = loaded.try_out(output.bytes_mut())?;
    Ok((Served { engine, inputs, output }, ready))
}

fn prepare_service(serve: &Serve, files: Vec<OwnedFd>, make: MakeService) -> Result<(Box<dyn Service>, Ready), Fault> {
    let [model] = all(files)?;
    let loaded = Loaded::new(&serve.load, model)?;
    let mut output = vec![0; loaded.engine.io().output.bytes()];
    let (engine, ready) = loaded.try_out(&mut output)?;
    let service = make(&serve.settings, Box::new(engine)).map_err(|text| Fault::System { text })?;
    Ok((service, ready))
}

/// Exactly so many descriptors.
fn all<const COUNT: usize>(files: Vec<OwnedFd>) -> Result<[OwnedFd; COUNT], Fault> {
    files.try_into().map_err(|files: Vec<_>| Fault::System {
        text: format!("{} of {COUNT} descriptors came (too many open files?)", files.len()),
    })
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Fault {
    move |error| Fault::System { text: format!("{what}: {error}") }
}

/// An engine that has not run yet.
struct Loaded {
    engine: TfliteEngine,
    version: Option<String>,
    device: Option<String>,
}

impl Loaded {
    /// Loads the model that `file` holds. Its ends must be what `load` says.
    fn new(load: &Load, file: OwnedFd) -> Result<Self, Fault> {
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).map_err(system("the model"))?;
        let delegate = load.delegate.as_ref().map(Delegate::open).transpose()?;
        let version = delegate.as_ref().and_then(Delegate::version).map(str::to_owned);
        let device = delegate.as_ref().and_then(Delegate::device).map(str::to_owned);
        let engine = TfliteEngine::with_delegate(&bytes.into(), &load.model_name, load.threads, delegate)?;
        let found = format!("{:?}", engine.io());
        if found != load.io && load.delegate.is_none() {
            let (inputs, outputs) = engine.ends();
            return Err(Fault::Ends { inputs, outputs });
        }
        if found != load.io {
            return Err(Fault::Model {
                text: format!("its ends are {found}, expected {}", load.io),
                words: Vec::new(),
            });
        }
        Ok(Self { engine, version, device })
    }

    /// Runs the test picture.
    fn try_out(self, output: &mut [u8]) -> Result<(TfliteEngine, Ready), Fault> {
        let Self { mut engine, version, device } = self;
        let picture = test_picture(&engine.io().input);
        let start = SystemClock.now();
        engine.infer(&picture, output).map_err(|error| Fault::Inference { words: vec![error.0] })?;
        let try_out = SystemClock.now().since(start);
        let describe = engine.describe();
        Ok((engine, Ready { version, device, describe, try_out, answer: Vec::new() }))
    }
}

/// Has `service` answer one request after the other.
fn answer_requests(service: &mut dyn Service, socket: &OwnedFd, message: &mut [u8]) -> io::Result<()> {
    loop {
        match receive_with_files(socket, message) {
            Ok((0, _)) => return Ok(()),
            Ok((length, files)) => {
                send(socket, &service.answer(&message[..length], files), SendFlags::NOSIGNAL)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
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
