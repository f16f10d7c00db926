//! What this process takes of the board. Always of the real `/proc`: no tree of files stands for it.

use rustix::time::{clock_gettime, ClockId};

use super::Process;

/// Processor time and memory now.
pub(super) fn look() -> Process {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Processor time only grows from zero, so both fields are non-negative.
    let seconds = time.tv_sec.unsigned_abs() as f64 + time.tv_nsec.unsigned_abs() as f64 * 1e-9;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Process { cpu_seconds: Some(seconds), resident_bytes: resident(&status) }
}

/// `VmRSS:     5292 kB`
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let before = look();
        let mut sum = 0u64;
        while look().cpu_seconds.unwrap() < before.cpu_seconds.unwrap() + 0.02 {
            sum = sum.wrapping_add(1);
        }
        assert!(before.resident_bytes.unwrap() > 1 << 20, "{before:?} {sum}");
    }

    #[test]
    fn the_time_is_that_of_the_kernels_clock() {
        let seconds = || {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_secs_f64()
        };
        let (before, looked, after) = (seconds(), look().cpu_seconds.unwrap(), seconds());
        assert!(before - 1e-6 <= looked && looked <= after + 1e-6, "{before} {looked} {after}");
    }

    #[test]
    fn memory_is_read_from_the_status() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    5292 kB\nVmData:\t 1 kB\n"), Some(5_419_008));
        for status in ["", "VmRSS:\n", "VmRSS:\t-1 kB\n", "VmRSS:\t99999999999999999999 kB\n", "VmRSS:\t5 MB\n"] {
            assert_eq!(resident(status), None, "{status}");
        }
    }
}
