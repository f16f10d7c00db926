//! What the adapter answers: USB's standard requests, those of the kernel's driver `i2c-tiny-usb`, and the chips' registers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const GET_STATUS: u8 = 0;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;

// Requests of the driver. A transfer on the bus has two more bits, for its beginning and its end.
const ECHO: u8 = 0;
const FUNCTIONS: u8 = 1;
const DELAY: u8 = 2;
const STATUS: u8 = 3;
const TRANSFER: u8 = 4;
const LAST_TRANSFER: u8 = 7;

/// Plain transfers, and the SMBus ones that the kernel makes of them.
const FUNCTION_BITS: u32 = 0x0eff_0009;
const ACKNOWLEDGED: u8 = 1;
const NOT_ACKNOWLEDGED: u8 = 2;

/// Vendor and product of the first adapter of this kind.
const ID: (u16, u16) = (0x0403, 0xc631);

/// Chips by address.
#[derive(Default)]
pub(crate) struct Chips(BTreeMap<u16, Chip>);

/// Registers by number, each with its bytes in the order in which they are sent; and the one that is read next.
#[derive(Default)]
struct Chip {
    registers: BTreeMap<u8, Vec<u8>>,
    pointer: u8,
}

impl Chips {
    /// Gives a register its bytes. All are hexadecimal; None where something is not.
    pub(crate) fn set(&mut self, address: &str, register: &str, bytes: &str) -> Option<()> {
        let address = u16::from_str_radix(address, 16).ok()?;
        let register = u8::from_str_radix(register, 16).ok()?;
        let byte = |place: usize| u8::from_str_radix(bytes.get(place..place + 2)?, 16).ok();
        let bytes = (0..bytes.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
        self.0.entry(address).or_default().registers.insert(register, bytes);
        Some(())
    }

    /// Takes a chip off the bus.
    pub(crate) fn remove(&mut self, address: &str) -> Option<()> {
        self.0.remove(&u16::from_str_radix(address, 16).ok()?).map(|_| ())
    }
}

impl Chip {
    /// The first byte is a register's number, what follows its new value.
    fn write(&mut self, data: &[u8]) {
        if let Some((pointer, value)) = data.split_first() {
            self.pointer = *pointer;
            if !value.is_empty() {
                self.registers.insert(*pointer, value.to_vec());
            }
        }
    }

    /// From the register on that was written last.
    fn read(&self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.registers.range(self.pointer..).flat_map(|(_, value)| value.clone()).collect();
        bytes.resize(length, 0);
        bytes
    }
}

/// The adapter's control endpoint.
pub(crate) struct Adapter {
    chips: Arc<Mutex<Chips>>,
    status: u8,
}

impl Adapter {
    pub(crate) fn new(chips: Arc<Mutex<Chips>>) -> Self {
        Self { chips, status: 0 }
    }

    /// Answers one request; `data` came with it. None where there is no such request.
    pub(crate) fn answer(&mut self, setup: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
        let pair = |place: usize| u16::from_le_bytes([setup[place], setup[place + 1]]);
        let (kind, request, value, index, length) = (setup[0], setup[1], pair(2), pair(4), usize::from(pair(6)));
        let mut answer = match kind & 0x60 {
            0 => standard(request, setup[3], setup[2])?,
            0x40 => self.vendor(request, value, index, length, data)?,
            _ => return None,
        };
        answer.truncate(length);
        Some(answer)
    }

    fn vendor(&mut self, request: u8, value: u16, index: u16, length: usize, data: &[u8]) -> Option<Vec<u8>> {
        match request {
            ECHO => Some(value.to_le_bytes().to_vec()),
            FUNCTIONS => Some(FUNCTION_BITS.to_le_bytes().to_vec()),
            DELAY => Some(Vec::new()),
            STATUS => Some(vec![self.status]),
            TRANSFER..=LAST_TRANSFER => {
                let mut chips = self.chips.lock().unwrap_or_else(PoisonError::into_inner);
                let chip = chips.0.get_mut(&index);
                self.status = if chip.is_some() { ACKNOWLEDGED } else { NOT_ACKNOWLEDGED };
                // The lowest bit of the message's flags: it reads.
                let is_read = value & 1 == 1;
                match chip {
                    Some(chip) if is_read => Some(chip.read(length)),
                    Some(chip) => {
                        chip.write(data);
                        Some(Vec::new())
                    }
                    None => Some(if is_read { vec![0; length] } else { Vec::new() }),
                }
            }
            _ => None,
        }
    }
}

fn standard(request: u8, kind: u8, index: u8) -> Option<Vec<u8>> {
    match request {
        GET_STATUS => Some(vec![0, 0]),
        GET_DESCRIPTOR => match (kind, index) {
            (1, 0) => Some(device()),
            // A configuration with one interface of a kind of its own, without endpoints.
            (2, 0) => Some(vec![9, 2, 18, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0xff, 0, 0, 0]),
            _ => None,
        },
        GET_CONFIGURATION => Some(vec![1]),
        // Set the configuration, set and clear features: there is nothing to do.
        _ => Some(Vec::new()),
    }
}

fn device() -> Vec<u8> {
    let mut out = vec![18, 1, 0, 2, 0xff, 0, 0, 64];
    for word in [ID.0, ID.1, 0x0205] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0, 0, 0, 1]);
    out
}
