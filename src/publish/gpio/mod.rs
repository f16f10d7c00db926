//! Lights, relays and buttons on a Raspberry Pi's pins: the sink that notes results, and what shows them.
//!
//! [`GpioSink`] leaves two numbers per result; the panel's own thread turns them into levels and looks after the button.
//! A board without usable pins costs one warning. Wiring and behaviour are described in `docs/gpio.md`.

mod board;
mod panel;
mod pi;
mod signals;

use std::sync::Arc;

use base::clock::Clock;
use base::failure::Failure;
use base::outbox::{Closing, OutboxHealth};
use model::Edition;

use super::plug::{Context, Guard, Plug, Plugged, Start};
use super::Sink;
use crate::config::{self, Config};
use crate::scene::rules::{AreaSettings, OwnRule, RuleSettings};
use crate::scene::Outcome;
use panel::Panel;
use pi::PiBoard;
use signals::Readings;

/// The name of the alarm's verdict among an outcome's rules.
pub const ALARM: &str = "gpio.alarm";

/// The rule of the alarm that `config` asks for; None where there is no alarm.
pub fn alarm_rule(config: &config::Gpio) -> Option<OwnRule> {
    config.alarm.number()?;
    let settings = AreaSettings { class: config.alarm_class.clone(), above: config.alarm_above };
    Some(OwnRule { name: ALARM, prefix: "gpio.alarm_", settings: RuleSettings::area(settings) })
}

/// Lights, relays and buttons as a plug.
#[derive(Debug)]
pub struct GpioPlug;

impl Plug for GpioPlug {
    fn name(&self) -> &'static str {
        "gpio"
    }

    /// The alarm's class must be one of the model's. Pins that can't be had are told, and no problem: a run goes on without.
    fn check(&self, config: &Config, edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        let config = &config.gpio;
        if !config.is_used() {
            return Ok(None);
        }
        if let Some((edition, rule)) = edition.zip(alarm_rule(config)) {
            rule.check(edition)?;
        }
        Ok(Some(match probe(config) {
            Ok(()) => "good: the pins can be used".to_owned(),
            Err(reason) => format!("without lights and buttons: {reason}"),
        }))
    }

    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure> {
        let (config, clock) = (&context.config.gpio, &context.clock);
        if !config.is_used() {
            return Ok(Plugged::default());
        }
        let board = match PiBoard::open_at_start() {
            Ok(board) => board,
            Err(reason) => {
                log::warn!("gpio: no lights and buttons: {reason}; everything else goes on");
                return Ok(Plugged::default());
            }
        };
        let panel = Panel::new(config, context.requests.clone(), Box::new(board), Arc::clone(clock));
        let sink = panel.readings().map(|readings| GpioSink { readings, clock: Arc::clone(clock) });
        let shutdown = context.shutdown.clone();
        let start: Start = Box::new(move || panel.start(&shutdown).map(|attended| Box::new(attended) as Guard));
        Ok(Plugged { start: Some(start), ..sink.map(Plugged::sink).unwrap_or_default() })
    }
}

/// Whether the pins that `config` names could be had now, without changing any.
fn probe(config: &config::Gpio) -> Result<(), String> {
    let board = PiBoard::open()?;
    let pins = [config.heartbeat, config.alarm, config.button];
    pins.iter().filter_map(|pin| pin.number()).try_for_each(|pin| board.take(pin).map(drop))
}

/// The publish thread's half: notes when a result came, and whether it is one to raise the alarm.
pub struct GpioSink {
    readings: Arc<Readings>,
    clock: Arc<dyn Clock>,
}

impl Sink for GpioSink {
    fn name(&self) -> &'static str {
        "gpio"
    }

    fn publish(&mut self, outcome: &Outcome) {
        let alarm = outcome.rule(ALARM).map(|verdict| verdict.judgement).unwrap_or_default();
        self.readings.note(self.clock.now(), alarm.share, alarm.is_on);
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
    use crate::scene::testing::{judged, named};
    use base::clock::ManualClock;

    use signals::Alarm;
    use std::time::Duration;

    /// The alarm's rule, as `config` asks for it.
    fn rule(config: &str) -> Vec<OwnRule> {
        alarm_rule(&toml::from_str(config).unwrap()).into_iter().collect()
    }

    fn labels() -> model::LabelMap {
        named(&["person/alive", "road/flat"])
    }

    /// A result, given to a sink at `clock`.
    fn publish(outcome: &Outcome, readings: &Arc<Readings>, clock: &Arc<ManualClock>) {
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let mut sink = GpioSink { readings: Arc::clone(readings), clock };
        sink.publish(outcome);
        assert_eq!((sink.name(), sink.is_onlooker(), sink.health()), ("gpio", false, OutboxHealth::default()));
        assert_eq!(Box::new(sink).close(Closing::Drain), OutboxHealth::default());
    }

    #[test]
    fn an_unknown_class_is_refused_by_the_alarm_s_own_key() {
        let error = judged("", rule("alarm = 4\nalarm_class = 'persn'"), labels(), &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "gpio.alarm_class \"persn\": the model has no class or group of that name; did you mean person?"
        );
    }

    #[test]
    fn the_alarm_is_on_from_the_very_share_on() {
        let clock = Arc::new(ManualClock::default());
        let readings = Arc::new(Readings::default());
        let mut alarm = Alarm::new(Duration::ZERO);
        for (road, is_on) in [(0, false), (1, true), (0, false)] {
            clock.advance(Duration::from_millis(100));
            let rule = rule("alarm = 4\nalarm_class = 'flat'\nalarm_above = 0.25");
            let outcome = judged("", rule, labels(), &[(0, 4 - road), (1, road)]).unwrap();
            publish(&outcome, &readings, &clock);
            let share = road as f64 / 4.0;
            assert_eq!((alarm.is_on(&readings, clock.now()), readings.share()), (is_on, share), "{road}");
        }
    }

    #[test]
    fn without_an_alarm_results_make_the_heart_beat() {
        let (clock, readings) = (Arc::new(ManualClock::default()), Arc::new(Readings::default()));
        clock.advance(Duration::from_secs(100));
        assert!(!signals::heartbeat(&readings, clock.now()));
        assert!(rule("heartbeat = 4").is_empty());
        publish(&judged("", Vec::new(), labels(), &[(0, 4)]).unwrap(), &readings, &clock);
        assert!(signals::heartbeat(&readings, clock.now()));
        assert!(!Alarm::new(Duration::ZERO).is_on(&readings, clock.now()));
    }
}
