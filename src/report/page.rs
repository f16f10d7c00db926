//! The report as a page: one file, no script, nothing from elsewhere.

use std::fmt::{self, Write as _};

use super::figures::Figures;
use super::outages::{Outage, Run};
use super::plots::{self, Plot};
use super::text::{self, milliseconds};
use super::timeline::Timeline;

/// More outages than this are only counted; the JSON has them.
const MOST_OUTAGES: usize = 500;

const STYLE: &str = "\
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:62rem;margin:0 auto;\
padding:1.5rem 1rem 4rem}h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .3rem}p{margin:.3rem 0}\
.quiet,figcaption{color:#555}figure{margin:0}figcaption{font-size:.9rem}svg{width:100%;min-width:40rem;\
max-width:60rem;height:auto;display:block}@media print{svg{min-width:0}}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .8rem .25rem 0;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap;vertical-align:top}\
th:first-child,td:first-child,.text{text-align:left}td.text:last-child{white-space:normal;min-width:14rem;overflow-wrap:anywhere}\
thead th{border-bottom:2px solid #888}ul{padding-left:1.2rem}\
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.6rem 1.2rem;margin:1.2rem 0}\
dt{color:#555;font-size:.9rem}dd{margin:0;font-size:1.25rem;font-weight:600}\
@media print{body{max-width:none}figure{break-inside:avoid}}";

/// The whole page.
pub(super) fn html(figures: &Figures, timeline: &Timeline) -> Result<String, String> {
    let plots = plots::all(figures, timeline)?;
    let mut page = String::new();
    // Writing to a String can't fail.
    let _ = write_page(&mut page, figures, timeline, &plots);
    Ok(page)
}

fn write_page(page: &mut String, figures: &Figures, timeline: &Timeline, plots: &[Plot]) -> fmt::Result {
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>pspnetd report</title><style>{STYLE}</style></head><body>\n\
         <header><h1>Latency report</h1><p>{}</p>",
        Escaped(&text::headline(figures))
    )?;
    if let Some(about) = text::about(figures) {
        write!(page, "<p class=\"quiet\">{}</p>", Escaped(&about))?;
    }
    page.push_str("</header>\n<main>");
    key_figures(page, figures)?;
    latency_table(page, figures)?;
    for line in text::frames(figures) {
        write!(page, "<p>{}</p>", Escaped(&line))?;
    }
    if let Some(power) = &figures.power {
        write!(page, "<p>{}</p>", Escaped(&text::power(power)))?;
    }
    for Plot { title, caption, svg } in plots {
        // The picture's own tag gets what those who don't see it need.
        let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1);
        // On a phone it keeps a size that can be read, and is moved sideways.
        let svg = format!("<div class=\"scroll\">{svg}</div>");
        write!(page, "\n<section><h2>{title}</h2><figure><figcaption>{caption}</figcaption>{svg}</figure></section>")?;
    }
    if !plots.is_empty() {
        let slot = text::duration(timeline.width());
        write!(page, "<p class=\"quiet\">Each point stands for {slot}. Times are UTC. Grey: nothing came.</p>")?;
    }
    outages(page, figures)?;
    runs(page, &figures.runs)?;
    if !figures.remarks.is_empty() {
        page.push_str("\n<section><h2>Notes</h2><ul>");
        for remark in &figures.remarks {
            write!(page, "<li>{}</li>", Escaped(remark))?;
        }
        page.push_str("</ul></section>");
    }
    write!(
        page,
        "</main>\n<footer><p class=\"quiet\">Made by pspnetd {} of {} {}.</p></footer></body></html>\n",
        env!("CARGO_PKG_VERSION"),
        figures.files.len(),
        if figures.files.len() == 1 { "file" } else { "files" }
    )
}

fn key_figures(page: &mut String, figures: &Figures) -> fmt::Result {
    let end_to_end = figures.stages.last();
    let unit = |value: Option<f64>, digits: usize, unit: &str| {
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.digits$} {unit}"))
    };
    let power = figures.power.as_ref();
    page.push_str("<dl>");
    for (name, value) in [
        ("median, end to end", unit(end_to_end.and_then(|stage| stage.p50_ms), 1, "ms")),
        ("99 % are faster than", unit(end_to_end.and_then(|stage| stage.p99_ms), 1, "ms")),
        ("frames per second", unit(figures.fps, 2, "")),
        ("energy per frame", unit(power.and_then(|power| power.joules_per_frame), 3, "J")),
        ("mean power", unit(power.and_then(|power| power.mean_watts), 2, "W")),
        ("throttled", unit(figures.throttled_minutes, 1, "min")),
        ("restarts", figures.runs.len().saturating_sub(1).to_string()),
        ("outages", (figures.outages.len() as u64 + figures.outages_left_out).to_string()),
    ] {
        write!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", value.trim_end())?;
    }
    page.push_str("</dl>");
    Ok(())
}

fn latency_table(page: &mut String, figures: &Figures) -> fmt::Result {
    page.push_str(
        "<h2>Latency of each stage, ms</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">stage</th>\
         <th scope=\"col\">frames</th><th scope=\"col\">p50</th><th scope=\"col\">p90</th><th scope=\"col\">p99</th>\
         <th scope=\"col\">p99.9</th><th scope=\"col\">max</th></tr></thead><tbody>",
    );
    for stage in &figures.stages {
        write!(page, "<tr><th scope=\"row\">{}</th><td>{}</td>", stage.stage, stage.n)?;
        for ms in [stage.p50_ms, stage.p90_ms, stage.p99_ms, stage.p999_ms, stage.max_ms] {
            write!(page, "<td>{}</td>", milliseconds(ms))?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
    Ok(())
}

fn outages(page: &mut String, figures: &Figures) -> fmt::Result {
    page.push_str("\n<section><h2>List of outages</h2>");
    if figures.outages.is_empty() {
        page.push_str("<p>None.</p></section>");
        return Ok(());
    }
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">from (UTC)</th><th scope=\"col\" class=\"text\">to</th>\
         <th scope=\"col\">for</th><th scope=\"col\" class=\"text\">what</th></tr></thead><tbody>",
    );
    for Outage { kind, from, to, seconds, text: why } in figures.outages.iter().take(MOST_OUTAGES) {
        let to = to.map_or_else(|| "lasts".to_owned(), text::time);
        let (from, length) = (text::time(*from), text::duration(*seconds));
        let colon = if why.is_empty() { "" } else { ": " };
        let (name, why) = (kind.name(), Escaped(why));
        write!(page, "<tr><td>{from}</td><td class=\"text\">{to}</td><td>{length}</td><td class=\"text\">{name}{colon}{why}</td></tr>")?;
    }
    page.push_str("</tbody></table></div>");
    let more = figures.outages.len().saturating_sub(MOST_OUTAGES) as u64 + figures.outages_left_out;
    if more > 0 {
        write!(page, "<p>And {more} more.</p>")?;
    }
    page.push_str("</section>");
    Ok(())
}

fn runs(page: &mut String, runs: &[Run]) -> fmt::Result {
    page.push_str(
        "\n<section><h2>Runs of the program</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">run</th>\
         <th scope=\"col\" class=\"text\">from (UTC)</th><th scope=\"col\" class=\"text\">to</th>\
         <th scope=\"col\" class=\"text\">board</th><th scope=\"col\" class=\"text\">model</th>\
         <th scope=\"col\" class=\"text\">engine</th><th scope=\"col\" class=\"text\">version</th></tr></thead><tbody>",
    );
    for run in runs.iter().take(MOST_OUTAGES) {
        write!(page, "<tr><td>{}</td>", Escaped(&run.run))?;
        for text in [&text::time(run.from), &text::time(run.to), &run.host, &run.model, &run.engine, &run.version] {
            write!(page, "<td class=\"text\">{}</td>", Escaped(text))?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div></section>");
    Ok(())
}

/// Text that may hold anything.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base::text::shown(self.0).chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            _ => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{example, read};
    use crate::report::{Range, Report};

    /// The page with a line for each tag, less what its pictures show, its style and the program's version.
    fn page(report: &Report) -> String {
        let mut page = report.page().unwrap().replace(STYLE, "").replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        while let Some(from) = page.find("<svg ") {
            let inside = from + page[from..].find('>').unwrap();
            let to = inside + page[inside..].find("</svg>").unwrap();
            let label = page[from..inside].split('"').nth(3).unwrap().to_owned();
            page.replace_range(from..to + "</svg>".len(), &format!("[picture {label}]"));
        }
        page.replace("><", ">\n<")
    }

    #[test]
    fn the_page_has_every_figure_at_its_place() {
        let report = read(&example(), Range::default()).unwrap();
        let found = page(&report);
        let expected = include_str!("../../tests/data/report.html");
        for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "line {}", line + 1);
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_unknown_or_nothing_is_told_on_the_page() {
        let mut report = read(&example(), Range::default()).unwrap();
        let figures = &mut report.figures;
        (figures.power, figures.fps, figures.throttled_minutes) = (None, None, None);
        figures.outages.clear();
        figures.remarks.push("<one>".to_owned());
        figures.stages.iter_mut().for_each(|stage| (stage.p50_ms, stage.p99_ms) = (None, None));
        let page = page(&report);
        assert_eq!(page.matches("<dd>unknown</dd>").count(), 6, "{page}");
        for words in [
            "<h2>List of outages</h2>\n<p>None.</p>",
            "<h2>Notes</h2>\n<ul>\n<li>&lt;one&gt;</li>",
            "<dd>0</dd>",
            "<td>-</td>",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains("power: "), "{page}");
    }

    #[test]
    fn five_hundred_outages_are_listed_and_the_others_counted() {
        let mut figures = read(&example(), Range::default()).unwrap().figures;
        let one = figures.outages[0].clone();
        for (n, left_out, listed, more) in [
            (500, 0, 500, None),
            (501, 0, 500, Some("And 1 more.")),
            (500, 2, 500, Some("And 2 more.")),
            (503, 2, 500, Some("And 5 more.")),
        ] {
            (figures.outages, figures.outages_left_out) = (vec![one.clone(); n], left_out);
            let mut page = String::new();
            outages(&mut page, &figures).unwrap();
            assert_eq!(page.matches("<tr><td>").count(), listed);
            assert_eq!(page.split("<p>").nth(1).map(|text| text.split("</p>").next().unwrap()), more);
            page.clear();
            key_figures(&mut page, &figures).unwrap();
            assert!(page.contains(&format!("<dt>outages</dt><dd>{}</dd>", n as u64 + left_out)), "{page}");
        }
    }

    #[test]
    fn text_in_a_page_is_only_text() {
        assert_eq!(Escaped("<a b='c' d=\"e\">&").to_string(), "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;");
    }
}
