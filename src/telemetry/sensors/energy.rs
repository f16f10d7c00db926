//! Power over time.

use std::time::Duration;

use base::clock::Instant;

/// Power of a processor that can't be: what a counter seems to have counted when it began anew.
const IMPOSSIBLE: f64 = 2000.0;
/// Two looks that are closer say nothing about a power: counters move once a millisecond.
const SHORTEST: Duration = Duration::from_millis(20);

/// The energy of one rail since the start.
#[derive(Debug, Default)]
pub(super) struct Energy {
    joules: Option<f64>,
    power: Option<(Instant, f64)>,
    counter: Option<(Instant, f64)>,
    watts: Option<f64>,
}

impl Energy {
    /// Joules so far; None before the first value.
    pub(super) const fn joules(&self) -> Option<f64> {
        self.joules
    }

    /// Takes a power that was measured now, or none. Between two looks the mean of their powers counts, if no more than
    /// `longest` lies between them: what happened in a longer gap is not known. Returns the joules that came.
    pub(super) fn measured(&mut self, now: Instant, watts: Option<f64>, longest: Duration) -> f64 {
        let Some(watts) = watts else {
            return 0.0;
        };
        let added = match self.power.replace((now, watts)) {
            Some((then, before)) if now.since(then) <= longest => {
                (before + watts) / 2.0 * now.since(then).as_secs_f64()
            }
            _ => 0.0,
        };
        self.add(added)
    }

    /// Takes a counter of joules that begins anew past `range`, as it stands now. Gaps don't matter: it counted on. Returns
    /// the joules that came, and the mean power since the last look.
    pub(super) fn counted(&mut self, now: Instant, joules: f64, range: f64) -> (f64, Option<f64>) {
        let Some((then, before)) = self.counter else {
            self.counter = Some((now, joules));
            return (self.add(0.0), None);
        };
        let time = now.since(then);
        if time < SHORTEST {
            return (0.0, self.watts);
        }
        self.counter = Some((now, joules));
        let added = if joules >= before { joules - before } else { range - before + joules };
        let watts = added / time.as_secs_f64();
        // It began anew before its end: the machine slept, or the driver's idea of the range is wrong.
        self.watts = (0.0..IMPOSSIBLE).contains(&watts).then_some(watts);
        (self.add(self.watts.map_or(0.0, |_| added)), self.watts)
    }

    fn add(&mut self, joules: f64) -> f64 {
        *self.joules.get_or_insert(0.0) += joules;
        joules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn power_is_integrated_over_the_real_time() {
        let mut energy = Energy::default();
        assert_eq!((energy.measured(at(0), None, LONGEST), energy.joules()), (0.0, None));
        assert_eq!((energy.measured(at(1000), Some(4.0), LONGEST), energy.joules()), (0.0, Some(0.0)));
        assert_eq!(energy.measured(at(2000), Some(6.0), LONGEST), 5.0);
        assert_eq!(energy.measured(at(2500), Some(6.0), LONGEST), 3.0);
        // One lost look is bridged, a long gap is not.
        energy.measured(at(3500), None, LONGEST);
        assert_eq!(energy.measured(at(4500), Some(6.0), LONGEST), 12.0);
        assert_eq!(energy.measured(at(60_000), Some(6.0), LONGEST), 0.0);
        assert_eq!(energy.joules(), Some(20.0));
        assert_eq!(energy.measured(at(65_000), Some(6.0), LONGEST), 30.0, "just as long as it may be");
        assert_eq!(energy.measured(at(70_001), Some(6.0), LONGEST), 0.0, "longer");
        assert_eq!(energy.joules(), Some(50.0));
    }

    #[test]
    fn a_counter_counts_across_its_end_and_across_gaps() {
        let mut energy = Energy::default();
        assert_eq!(energy.counted(at(0), 250.0, 262.0), (0.0, None));
        assert_eq!(energy.counted(at(1000), 260.0, 262.0), (10.0, Some(10.0)));
        assert_eq!(energy.counted(at(2000), 8.0, 262.0), (10.0, Some(10.0)), "past its end");
        assert_eq!(energy.counted(at(2001), 8.0, 262.0), (0.0, Some(10.0)), "too soon to tell");
        assert_eq!(energy.counted(at(62_000), 248.0, 262.0), (240.0, Some(4.0)));
        assert_eq!(energy.joules(), Some(260.0));
    }

    #[test]
    fn a_power_needs_some_time_and_has_its_bounds() {
        let mut energy = Energy::default();
        energy.counted(at(0), 10.0, 262.0);
        assert_eq!(energy.joules(), Some(0.0));
        assert_eq!(energy.counted(at(19), 11.0, 262.0), (0.0, None));
        assert_eq!(energy.counted(at(20), 12.0, 262.0), (2.0, Some(100.0)), "since the look that counted");
        assert_eq!(energy.counted(at(1020), 12.0, 262.0), (0.0, Some(0.0)), "a counter that stands still");
        assert_eq!(energy.counted(at(2020), 2011.0, 1e6), (1999.0, Some(1999.0)));
        assert_eq!(energy.counted(at(3020), 4011.0, 1e6), (0.0, None), "no processor takes 2000 W");
        assert_eq!(energy.joules(), Some(2001.0));
    }

    #[test]
    fn a_counter_that_began_anew_adds_nothing() {
        let mut energy = Energy::default();
        energy.counted(at(0), 1000.0, 262_143.0);
        assert_eq!(energy.counted(at(1000), 5.0, 262_143.0), (0.0, None));
        assert_eq!(energy.counted(at(2000), 15.0, 262_143.0), (10.0, Some(10.0)));
        // Or one that shows more than its range.
        assert_eq!(energy.counted(at(3000), 3.0, 1.0), (0.0, None));
    }
}
