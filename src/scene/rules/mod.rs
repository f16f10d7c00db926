//! Rules: what the owner wants to know of each frame, by name. Each kind of rule is one file here, and one line in the table
//! below.

use std::collections::BTreeMap;
use std::fmt;

use base::failure::SettingError;
use model::Edition;
use serde::{Deserialize, Serialize};

use super::Outcome;

/// The table of kinds: `name in the configuration => module`. The module has a `Settings` that implements [`RuleKind`].
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        $(mod $kind;)+

        /// One rule of the configuration. Its kind says which keys it has.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        #[allow(non_camel_case_types)]
        pub enum RuleSettings {
            $(
                #[doc = concat!("`kind = \"", stringify!($kind), "\"`")]
                $kind($kind::Settings),
            )+
        }

        impl RuleSettings {
            /// The kinds, as the configuration names them.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($kind)),+];

            /// The settings of a rule of this kind with nothing set; None where there is no such kind.
            pub fn template(kind: &str) -> Option<Self> {
                match kind {
                    $(stringify!($kind) => Some(Self::$kind($kind::Settings::default())),)+
                    _ => None,
                }
            }

            fn read(kind: &str, keys: toml::Table) -> Result<Self, String> {
                match kind {
                    $(stringify!($kind) => from_table(keys).map(Self::$kind),)+
                    _ => Err(format!("unknown kind of rule {kind:?}; expected {}", Self::KINDS.join(" or "))),
                }
            }

            fn kind(&self) -> &dyn RuleKind {
                match self {
                    $(Self::$kind(settings) => settings,)+
                }
            }
        }
    };
}

kinds! { area }

pub use area::Settings as AreaSettings;

/// A kind of rule: its settings, and how they become a rule for one edition.
pub trait RuleKind: fmt::Debug {
    /// The rule for `edition`. `key` makes the configuration key of one of its settings.
    ///
    /// # Errors
    /// When the edition has no such class, or another setting can't be.
    fn rule(&self, edition: &Edition, key: &dyn Fn(&'static str) -> String) -> Result<Box<dyn Rule>, SettingError>;
}

/// A rule that judges frames of one edition.
pub trait Rule: Send + fmt::Debug {
    /// Judges one frame, whose areas are measured.
    fn judge(&mut self, outcome: &Outcome) -> Judgement;
}

/// What a rule says of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judgement {
    /// It is met.
    pub is_on: bool,
    /// The share of the picture that decided it, 0 to 1.
    pub share: f64,
}

/// What the rule with this name says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// As in `[rules.NAME]`.
    pub name: String,
    /// What it says.
    pub judgement: Judgement,
}

/// Rules by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Rules(pub BTreeMap<String, RuleSettings>);

/// The kind of a rule that doesn't say.
pub const DEFAULT_KIND: &str = "area";

impl<'de> Deserialize<'de> for RuleSettings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = toml::Table::deserialize(deserializer)?;
        let kind = match keys.remove("kind") {
            None => DEFAULT_KIND.to_owned(),
            Some(toml::Value::String(kind)) => kind,
            Some(other) => return Err(serde::de::Error::custom(format!("kind {other}: expected text"))),
        };
        Self::read(&kind, keys).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}

fn from_table<T: serde::de::DeserializeOwned>(keys: toml::Table) -> Result<T, String> {
    T::deserialize(keys).map_err(|error| error.message().trim_end().replace('\n', "; "))
}

/// The rules of one run: settings, and what they became for the edition in hand.
#[derive(Debug)]
pub(super) struct RuleBook {
    settings: Vec<(Named, RuleSettings)>,
    rules: Vec<Box<dyn Rule>>,
}

/// A rule's name, and where its settings stand in the configuration.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    /// Its keys are this and the setting's name.
    prefix: String,
}

impl RuleBook {
    pub(super) fn new(rules: &Rules, own: Vec<OwnRule>) -> Self {
        let named = rules
            .0
            .iter()
            .map(|(name, settings)| (Named { name: name.clone(), prefix: format!("rules.{name}.") }, settings.clone()));
        let own = own
            .into_iter()
            .map(|own| (Named { name: own.name.to_owned(), prefix: own.prefix.to_owned() }, own.settings));
        Self { settings: named.chain(own).collect(), rules: Vec::new() }
    }

    /// Makes the rules for `edition`.
    pub(super) fn prepare(&mut self, edition: &Edition) -> Result<(), SettingError> {
        let rule = |(named, settings): &(Named, RuleSettings)| {
            settings.kind().rule(edition, &|key| format!("{}{key}", named.prefix))
        };
        self.rules = self.settings.iter().map(rule).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Forgets the rules until the next edition.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Judges a frame. Verdicts are made once and filled again.
    pub(super) fn judge(&mut self, outcome: &mut Outcome) {
        if outcome.rules.len() != self.rules.len() {
            let verdict =
                |(named, _): &(Named, _)| Verdict { name: named.name.clone(), judgement: Judgement::default() };
            outcome.rules = self.settings.iter().take(self.rules.len()).map(verdict).collect();
        }
        for (place, rule) in self.rules.iter_mut().enumerate() {
            let judgement = rule.judge(outcome);
            outcome.rules[place].judgement = judgement;
        }
    }
}

/// A rule that another section of the configuration asks for, such as the alarm of `[gpio]`.
#[derive(Clone, Debug)]
pub struct OwnRule {
    /// The name under which its verdict is found. It has a dot, which no name of a user's rule has.
    pub name: &'static str,
    /// Its keys are this and the setting's name, such as `gpio.alarm_`.
    pub prefix: &'static str,
    /// What it looks for.
    pub settings: RuleSettings,
}

impl OwnRule {
    /// Whether `edition` has what the rule looks for.
    ///
    /// # Errors
    /// What it has not.
    pub fn check(&self, edition: &Edition) -> Result<(), SettingError> {
        self.settings.kind().rule(edition, &|key| format!("{}{key}", self.prefix)).map(drop)
    }
}
