//! An I2C bus without hardware: a USB adapter of the kind "i2c-tiny-usb" that speaks USB/IP with the kernel's virtual host
//! controller, `vhci_hcd`, and chips on it that are nothing but registers. The kernel's own drivers of those chips read them.
//!
//! For the board lab (docs/board-lab.md), whose emulator has neither a bus on this machine nor a power monitor. Needs root and
//! `modprobe vhci_hcd i2c-tiny-usb`. Commands are lines on standard input: `plug`, `unplug`, `quit`; `set 40 02 27d8` gives
//! register 2 of the chip at address 0x40 these bytes, `remove 40` takes the chip off the bus.
#![allow(clippy::print_stdout)]

mod adapter;
#[path = "../usb_camera/wire.rs"]
#[allow(dead_code)]
mod wire;

use std::io::{self, BufRead};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use adapter::{Adapter, Chips};
use wire::Request;

const ATTACH: &str = "/sys/devices/platform/vhci_hcd.0/attach";
/// The kernel's number for USB 2's high speed.
const HIGH_SPEED: u32 = 3;
/// How long the port may take to be free after unplugging.
const PORT_LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let chips = Arc::<Mutex<Chips>>::default();
    let mut plugged: Option<UnixStream> = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut chips_now = chips.lock().unwrap_or_else(PoisonError::into_inner);
        match words.as_slice() {
            [] => continue,
            ["plug"] => plugged = Some(plug(&chips)?),
            ["unplug"] => unplug(plugged.take()),
            ["quit"] => break,
            ["set", address, register, bytes] if chips_now.set(address, register, bytes).is_some() => {}
            ["remove", address] if chips_now.remove(address).is_some() => {}
            _ => println!("unknown command: {line}"),
        }
        println!("done: {line}");
    }
    unplug(plugged);
    Ok(())
}

/// Connects the adapter with port 0, and answers the host in a thread.
fn plug(chips: &Arc<Mutex<Chips>>) -> io::Result<UnixStream> {
    let (mut host, kernels) = UnixStream::pair()?;
    // Port, descriptor, the device's number, which may be any, and its speed.
    let words = format!("0 {} 2 {HIGH_SPEED}", kernels.as_raw_fd());
    let start = Instant::now();
    while let Err(error) = std::fs::write(ATTACH, &words) {
        if start.elapsed() > PORT_LIMIT {
            let text = format!("'{words}' could not be written to {ATTACH}: {error}; is vhci_hcd loaded?");
            return Err(io::Error::new(error.kind(), text));
        }
        thread::sleep(Duration::from_millis(10));
    }
    let (ours, mut adapter) = (host.try_clone()?, Adapter::new(Arc::clone(chips)));
    thread::spawn(move || {
        while let Ok(request) = wire::read(&mut host) {
            let answered = match request {
                Request::Submit(transfer) => {
                    let answer = adapter.answer(transfer.setup, &transfer.data);
                    let (status, bytes) = answer.map_or((wire::STALLED, Vec::new()), |bytes| (0, bytes));
                    wire::answer(&mut host, transfer.number, status, transfer.data.len(), &bytes)
                }
                // Every transfer is answered before the next one is read: there is none to take back.
                Request::Unlink { number, .. } => wire::answer_unlink(&mut host, number, false),
            };
            if answered.is_err() {
                break;
            }
        }
    });
    Ok(ours)
}

fn unplug(host: Option<UnixStream>) {
    // The thread has a copy of the descriptor: only this ends the connection.
    let _ = host.map(|host| host.shutdown(Shutdown::Both));
}
