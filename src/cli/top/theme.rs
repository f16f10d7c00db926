//! Colours and symbols that this terminal has.

use ratatui::style::{Color, Modifier, Style};

/// What is drawn with. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    colours: Colours,
    /// Bars and lines are made of ASCII.
    is_ascii: bool,
}

/// How many colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    None,
    Sixteen,
    Many,
    All,
}

impl Theme {
    /// As the environment says: NO_COLOR, TERM, COLORTERM and the locale.
    pub(super) fn of_environment() -> Self {
        let value = |name: &str| std::env::var(name).unwrap_or_default();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(value).into_iter().find(|value| !value.is_empty());
        Self::new(&value("NO_COLOR"), &value("TERM"), &value("COLORTERM"), &locale.unwrap_or_default())
    }

    fn new(no_color: &str, term: &str, colorterm: &str, locale: &str) -> Self {
        let colours = match (no_color, term, colorterm) {
            ("", "dumb" | "", _) => Colours::None,
            ("", _, "truecolor" | "24bit") => Colours::All,
            ("", term, _) if term.contains("256color") => Colours::Many,
            ("", _, _) => Colours::Sixteen,
            _ => Colours::None,
        };
        let locale = locale.to_ascii_lowercase();
        Self { colours, is_ascii: !(locale.contains("utf-8") || locale.contains("utf8")) }
    }

    /// The plain one of tests.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { colours: Colours::None, is_ascii: false }
    }

    /// A class's own colour, `#rrggbb`, where the terminal comes near it.
    pub(super) fn class(self, colour: &str) -> Style {
        let Some([red, green, blue]) = rgb(colour) else { return Style::new() };
        match self.colours {
            Colours::All => Style::new().fg(Color::Rgb(red, green, blue)),
            Colours::Many => Style::new().fg(Color::Indexed(nearest(red, green, blue))),
            Colours::Sixteen | Colours::None => Style::new(),
        }
    }

    /// Something is as it should be.
    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// Something needs a look.
    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Something is wrong.
    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// Titles.
    pub(super) fn title(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What explains.
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colours == Colours::None {
            Style::new()
        } else {
            Style::new().fg(colour)
        }
    }

    /// A bar of `share` (0 to 1) of `width` cells.
    pub(super) fn bar(self, share: f64, width: usize) -> String {
        let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
        if self.is_ascii {
            return "#".repeat((eighths + 4) / 8);
        }
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        "█".repeat(eighths / 8) + rest
    }

    /// One character per value, as high as it is beside the highest; a space where it is unknown.
    pub(super) fn sparkline(self, values: &[Option<f64>]) -> String {
        let levels: &[char] = if self.is_ascii {
            &['_', '.', '-', '=', '+', '*', '#', '@']
        } else {
            &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        };
        let highest = values.iter().flatten().copied().fold(0.0, f64::max);
        let level = |value: f64| {
            let at = if highest > 0.0 { (value / highest * 7.0).round() } else { 0.0 };
            levels[(at.max(0.0) as usize).min(7)]
        };
        values.iter().map(|value| value.map_or(' ', level)).collect()
    }

    /// A horizontal line.
    pub(super) fn rule(self, width: usize) -> String {
        if self.is_ascii { "-" } else { "─" }.repeat(width)
    }

    /// Where a text was cut.
    pub(super) const fn cut(self) -> &'static str {
        if self.is_ascii {
            "~"
        } else {
            "…"
        }
    }
}

fn rgb(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let at = |index: usize| u8::from_str_radix(&digits[index..index + 2], 16).ok();
    Some([at(0)?, at(2)?, at(4)?])
}

/// The nearest of the 6x6x6 colours that terminals with 256 colours have from number 16 on.
fn nearest(red: u8, green: u8, blue: u8) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let step = |value: u8| (0..6_u8).min_by_key(|&step| STEPS[usize::from(step)].abs_diff(value)).unwrap_or_default();
    16 + 36 * step(red) + 6 * step(green) + step(blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment() {
        let colours = |no_color, term, colorterm| Theme::new(no_color, term, colorterm, "de_DE.UTF-8").colours;
        assert_eq!(colours("", "xterm-256color", ""), Colours::Many);
        assert_eq!(colours("", "xterm-256color", "truecolor"), Colours::All);
        assert_eq!(colours("", "linux", ""), Colours::Sixteen);
        for (no_color, term) in [("1", "xterm-256color"), ("", "dumb"), ("", "")] {
            assert_eq!(colours(no_color, term, "truecolor"), Colours::None);
        }
        let plain = Theme::new("1", "xterm", "", "C.utf8");
        assert_eq!(plain, Theme::plain());
        assert_eq!(plain.class("#ff0000").fg, None);
        assert!([plain.good(), plain.bad(), plain.title()].iter().all(|style| style.fg.is_none()));
        assert_eq!(Theme::new("", "xterm", "24bit", "").class("#ff0080").fg, Some(Color::Rgb(255, 0, 128)));
        assert_eq!(Theme::new("", "xterm-256color", "", "").class("#ff0000").fg, Some(Color::Indexed(196)));
        for wrong in ["", "#", "#12345", "#gggggg", "#ééé", "red"] {
            assert_eq!(Theme::new("", "xterm", "24bit", "").class(wrong).fg, None, "{wrong}");
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let theme = Theme::plain();
        assert_eq!(theme.bar(0.5, 10), "█████");
        assert_eq!(theme.bar(0.0625, 2), "▏");
        assert_eq!(theme.bar(7.0, 3), "███");
        assert_eq!(theme.bar(-1.0, 3), "");
        assert_eq!(theme.bar(f64::NAN, 3), "");
        let ascii = Theme::new("", "xterm", "", "C");
        assert_eq!(ascii.bar(0.5, 10), "#####");
        assert!(
            ascii.sparkline(&[Some(0.1), Some(1.0)]).is_ascii() && ascii.rule(3).is_ascii() && ascii.cut().is_ascii()
        );
    }

    #[test]
    fn a_line_over_time_is_scaled_to_its_highest_value() {
        let values = [None, Some(0.0), Some(0.01), Some(0.02), Some(-1.0)];
        assert_eq!(Theme::plain().sparkline(&values), " ▁▅█▁");
        assert_eq!(Theme::plain().sparkline(&[Some(0.0), None]), "▁ ");
    }
}
