//! Lights, relays and buttons on a Raspberry Pi's pins: the sink that notes results, and what shows them.
//!
//! [`GpioSink`] leaves two numbers per result; the [`Panel`]'s own thread turns them into levels and looks after the button.
//! A board without usable pins costs one warning. Wiring and behaviour are described in `docs/gpio.md`.

mod board;
mod panel;
mod pi;
mod signals;

use std::sync::Arc;

use base::clock::Clock;
use base::failure::SettingError;
use base::outbox::{Closing, OutboxHealth};
use model::LabelMap;

use super::{area_of, Published, Sink};
use crate::config;
use pi::PiBoard;
use signals::Readings;

pub use panel::{Attended, Controls, Panel};

/// Names that a message lists at most.
const LISTED: usize = 20;

/// What the alarm looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    classes: Vec<u8>,
    above: f64,
}

impl Watch {
    /// The class, or else the group, that `config` names. None where there is no alarm.
    ///
    /// # Errors
    /// When the model has neither, with the nearest name that it has.
    pub fn find(config: &config::Gpio, labels: &LabelMap) -> Result<Option<Self>, SettingError> {
        if config.alarm.number().is_none() {
            return Ok(None);
        }
        let name = &config.alarm_class;
        let class = (0..=u8::MAX).zip(labels.names()).find(|(_, class)| *class == name).map(|(id, _)| vec![id]);
        let group = || labels.groups().iter().find(|group| group.name == *name).map(|group| group.classes.clone());
        let classes = class.or_else(group).ok_or_else(|| unknown(name, labels))?;
        Ok(Some(Self { classes, above: config.alarm_above.0 }))
    }
}

fn unknown(name: &str, labels: &LabelMap) -> SettingError {
    let groups = labels.groups().iter().map(|group| &group.name).filter(|group| !labels.names().contains(group));
    let names: Vec<String> = labels.names().iter().chain(groups).cloned().collect();
    let hint = base::names::nearest(name, &names).map_or_else(
        || {
            let more = if names.len() > LISTED { ", …" } else { "" };
            format!("it has {}{more}", names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", "))
        },
        |near| format!("did you mean {near}?"),
    );
    let reason = format!("the model has no class or group of that name; {hint}");
    SettingError { key: "gpio.alarm_class", value: format!("{name:?}"), reason }
}

/// Takes the pins that `config` names. None where it names none or none can be had, which is said in a warning. The sink
/// is there where an output shows results.
pub fn open(
    config: &config::Gpio,
    watch: Option<Watch>,
    controls: Controls,
    clock: &Arc<dyn Clock>,
) -> Option<(Panel, Option<GpioSink>)> {
    if !config.is_used() {
        return None;
    }
    let board = PiBoard::open_at_start()
        .map_err(|reason| log::warn!("gpio: no lights and buttons: {reason}; everything else goes on"))
        .ok()?;
    let panel = Panel::new(config, controls, Box::new(board), Arc::clone(clock));
    let sink = panel.readings().map(|readings| GpioSink { readings, watch, clock: Arc::clone(clock) });
    Some((panel, sink))
}

/// Whether the pins that `config` names could be had now, without changing any.
///
/// # Errors
/// Why not, and what to do.
pub fn probe(config: &config::Gpio) -> Result<(), String> {
    let board = PiBoard::open()?;
    let pins = [config.heartbeat, config.alarm, config.button];
    pins.iter().filter_map(|pin| pin.number()).try_for_each(|pin| board.take(pin).map(drop))
}

/// The publish thread's half: notes when a result came, and whether it is one to raise the alarm.
pub struct GpioSink {
    readings: Arc<Readings>,
    watch: Option<Watch>,
    clock: Arc<dyn Clock>,
}

impl Sink for GpioSink {
    fn name(&self) -> &'static str {
        "gpio"
    }

    fn publish(&mut self, result: &Published<'_>) {
        let now = self.clock.now();
        match &self.watch {
            None => self.readings.note(now, 0.0, false),
            Some(watch) => {
                let share = area_of(&watch.classes, result.summary);
                self.readings.note(now, share, share >= watch.above);
            }
        }
    }

    fn health(&self) -> OutboxHealth {
        OutboxHealth::default()
    }

    fn close(self: Box<Self>, _closing: Closing) -> OutboxHealth {
        OutboxHealth::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Counts, EngineReport, Timings};
    use base::clock::ManualClock;
    use model::Manifest;
    use pixels::frame::Size;
    use pixels::segment::Summary;
    use signals::Alarm;
    use std::time::Duration;

    fn labels() -> LabelMap {
        let class = |name: &str, group: &str| format!("[[classes]]\nname = '{name}'\ngroup = '{group}'\n");
        let classes = [class("person", "alive"), class("road", "flat"), class("dog", "alive"), class("alive", "flat")];
        let manifest: Manifest = toml::from_str(&format!("name = 'm'\n{}", classes.concat())).unwrap();
        LabelMap::new(Some(4), Some(&manifest)).unwrap()
    }

    fn watch(class: &str) -> Result<Option<Watch>, SettingError> {
        let config = toml::from_str(&format!("alarm = 4\nalarm_class = '{class}'\nalarm_above = 0.25")).unwrap();
        Watch::find(&config, &labels())
    }

    #[test]
    fn a_class_or_a_group_is_watched_and_a_class_comes_first() {
        let classes = |name| watch(name).unwrap().unwrap().classes;
        assert_eq!(classes("dog"), [2]);
        assert_eq!(classes("flat"), [1, 3]);
        assert_eq!(classes("alive"), [3]);
        assert_eq!(Watch::find(&config::Gpio::default(), &labels()).unwrap(), None);
    }

    #[test]
    fn an_unknown_class_is_refused_with_the_nearest() {
        let said = |class| watch(class).unwrap_err().to_string();
        assert_eq!(
            said("persn"),
            "gpio.alarm_class \"persn\": the model has no class or group of that name; did you mean person?"
        );
        assert!(said("zebra").ends_with("it has person, road, dog, alive, flat"), "{}", said("zebra"));
        // A model that doesn't say how many classes it has.
        let config = toml::from_str("alarm = 4\nalarm_class = 'zebra'").unwrap();
        let error = Watch::find(&config, &LabelMap::new(None, None).unwrap()).unwrap_err().to_string();
        assert!(error.contains("class_19, …") && !error.contains("class_20"), "{error}");
        let error = Watch::find(&config, &LabelMap::new(Some(20), None).unwrap()).unwrap_err().to_string();
        assert!(error.ends_with(", class_19"), "{error}");
    }

    /// A result whose classes cover so many pixels each, given to a sink for `watch` at `clock`.
    fn publish(watch: Option<Watch>, readings: &Arc<Readings>, clock: &Arc<ManualClock>, counts: &[(usize, u64)]) {
        let mut summary = Summary::default();
        counts.iter().for_each(|&(id, count)| summary.counts[id] = count);
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let time = clock.wall();
        let mut sink = GpioSink { readings: Arc::clone(readings), watch, clock };
        sink.publish(&Published {
            sequence: 0,
            time,
            model: "m",
            labels: &labels(),
            summary: &summary,
            timings: &Timings::default(),
            counts: &Counts::default(),
            engine: &EngineReport::default(),
            worker: None,
            dropped: 0,
            mask: &[0; 4],
            mask_size: Size::new(2, 2),
            picture: None,
        });
        assert_eq!((sink.name(), sink.is_onlooker(), sink.health()), ("gpio", false, OutboxHealth::default()));
        assert_eq!(Box::new(sink).close(Closing::Drain), OutboxHealth::default());
    }

    #[test]
    fn a_result_is_above_from_the_very_share_on() {
        let clock = Arc::new(ManualClock::default());
        let readings = Arc::new(Readings::default());
        let mut alarm = Alarm::new(Duration::ZERO);
        // Of four pixels: road, and "alive" of the same group; 255 is void and counts for the whole.
        for (counts, share, is_on) in
            [([(0, 4), (1, 0)], 0.0, false), ([(0, 3), (3, 1)], 0.25, true), ([(2, 3), (255, 1)], 0.0, false)]
        {
            clock.advance(Duration::from_millis(100));
            publish(watch("flat").unwrap(), &readings, &clock, &counts);
            assert_eq!((alarm.is_on(&readings, clock.now()), readings.share()), (is_on, share), "{counts:?}");
        }
    }

    #[test]
    fn without_an_alarm_results_make_the_heart_beat() {
        let (clock, readings) = (Arc::new(ManualClock::default()), Arc::new(Readings::default()));
        clock.advance(Duration::from_secs(100));
        assert!(!signals::heartbeat(&readings, clock.now()));
        publish(None, &readings, &clock, &[(0, 4)]);
        assert!(signals::heartbeat(&readings, clock.now()));
        assert!(!Alarm::new(Duration::ZERO).is_on(&readings, clock.now()));
    }
}
