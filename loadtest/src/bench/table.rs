//! Results over rounds: medians, spreads, ratios, and their tables.
//!
//! Owns the statistics and the layout. Never measures and never judges: a goal is somebody else's.
//! Readings come from [`super::works`], text goes to people and into documents.

use serde::Serialize;
use std::collections::BTreeMap;

/// What one server has shown in one case in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reading {
    /// Name of the work.
    pub(crate) work: String,
    /// Which of its cases.
    pub(crate) case: String,
    /// Which server.
    pub(crate) server: String,
    /// From 1.
    pub(crate) round: u32,
    /// Figures by name; empty when it failed.
    pub(crate) values: BTreeMap<String, f64>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Name of the figure.
    pub(crate) value: &'static str,
    /// What stands above it.
    pub(crate) title: &'static str,
    /// One of what is shown, in units of the figure.
    pub(crate) unit: f64,
    /// Whether its ratios between servers are shown as well.
    pub(crate) is_compared: bool,
}

/// The median; none of nothing. Of two in the middle it is their mean.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

/// All readings of a run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Readings(pub(crate) Vec<Reading>);

impl Readings {
    fn of<'a>(&'a self, work: &'a str, case: &'a str) -> impl Iterator<Item = &'a Reading> {
        self.0.iter().filter(move |reading| reading.work == work && reading.case == case)
    }

    /// One figure of one server, by round.
    fn figure(&self, work: &str, case: &str, server: &str, value: &str) -> BTreeMap<u32, f64> {
        let own = self.of(work, case).filter(|reading| reading.server == server);
        own.filter_map(|reading| Some((reading.round, *reading.values.get(value)?)))
            .filter(|(_, value)| value.is_finite())
            .collect()
    }

    /// One server's figure divided by another's in the same round, by round.
    fn ratios(&self, work: &str, case: &str, server: &str, other: &str, value: &str) -> Vec<f64> {
        let others = self.figure(work, case, other, value);
        let own = self.figure(work, case, server, value);
        let pairs = own.iter().filter_map(|(round, own)| Some(own / others.get(round)?));
        pairs.filter(|ratio| ratio.is_finite()).collect()
    }

    /// The tables of one case: figures of all servers, then ratios of some servers to the others.
    pub(crate) fn table(&self, work: &str, case: &str, columns: &[Column], compared: &[String]) -> String {
        let mut servers: Vec<&str> = Vec::new();
        for reading in self.of(work, case) {
            if !servers.contains(&reading.server.as_str()) {
                servers.push(&reading.server);
            }
        }
        let shown: Vec<&Column> = columns
            .iter()
            .filter(|column| {
                servers.iter().any(|server| !self.figure(work, case, server, column.value).is_empty())
            })
            .collect();
        let mut rows = vec![row("server", shown.iter().map(|column| column.title.to_owned()))];
        for server in &servers {
            let cell = |column: &&Column| {
                let values = self.figure(work, case, server, column.value);
                cell(&values.into_values().map(|value| value / column.unit).collect::<Vec<_>>())
            };
            rows.push(row(server, shown.iter().map(cell)));
        }
        let mut text = markdown(&rows);
        text += &self.ratio_table(work, case, columns, compared, &servers);
        for server in &servers {
            let busy = self.figure(work, case, server, GENERATOR).into_values().collect::<Vec<_>>();
            if let Some(busy) = median(&busy).filter(|&busy| busy >= GENERATOR_PERCENT_MAX) {
                text += &format!(
                    "\n{server}: the generator was at {busy:.0} % of its core, so it may be what limits this.\n"
                );
            }
        }
        for reading in self.of(work, case) {
            if let Some(error) = &reading.error {
                text += &format!("\n{} failed in round {}: {error}\n", reading.server, reading.round);
            }
        }
        text
    }

    fn ratio_table(
        &self,
        work: &str,
        case: &str,
        columns: &[Column],
        compared: &[String],
        servers: &[&str],
    ) -> String {
        let others: Vec<&&str> =
            servers.iter().filter(|server| !compared.contains(&(**server).to_owned())).collect();
        let mut rows = vec![row("ratio", others.iter().map(|other| format!("to {other}")))];
        for server in compared {
            for column in columns.iter().filter(|column| column.is_compared) {
                let ratios = |other: &&&str| self.ratios(work, case, server, other, column.value);
                let cells: Vec<String> = others.iter().map(|other| cell(&ratios(other))).collect();
                if cells.iter().any(|cell| cell != NOTHING) {
                    rows.push(row(&format!("{server}: {}", column.title), cells.into_iter()));
                }
            }
        }
        if rows.len() > 1 { format!("\n{}", markdown(&rows)) } else { String::new() }
    }
}

/// What is shown where there is no figure.
const NOTHING: &str = "-";
/// The figure that says how busy the generator was, and from where on it may measure itself.
const GENERATOR: &str = "generator_percent";
const GENERATOR_PERCENT_MAX: f64 = 90.0;

/// Median and, of several, the least and the most.
fn cell(values: &[f64]) -> String {
    let Some(median) = median(values) else { return NOTHING.to_owned() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 {
        number(median)
    } else {
        format!("{} ({}..{})", number(median), number(least), number(most))
    }
}

/// Three digits that matter, and no more decimals than that.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        big if big >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        small if small >= 0.0995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn row(first: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(cells).collect()
}

/// The first row is the heading.
fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    for (index, row) in rows.iter().enumerate() {
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            text += &if at == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
        }
        text += "|\n";
        if index == 0 {
            for (at, width) in widths.iter().enumerate() {
                text += &if at == 0 {
                    format!("|{}", "-".repeat(width + 2))
                } else {
                    format!("|{}:", "-".repeat(width + 1))
                };
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let shown = [0.0, 0.0123, 0.125, 1.5, 9.999, 12.34, 99.96, 12_345.6].map(number);
        assert_eq!(shown, ["0", "0.012", "0.12", "1.50", "10.0", "12.3", "100", "12346"]);
    }

    fn reading(server: &str, round: u32, value: Option<f64>) -> Reading {
        Reading {
            work: "full".to_owned(),
            case: "top".to_owned(),
            server: server.to_owned(),
            round,
            values: value.map(|value| ("deliveries_per_s".to_owned(), value)).into_iter().collect(),
            error: value.is_none().then(|| "it fell over".to_owned()),
        }
    }

    #[test]
    fn a_generator_at_its_limit_is_told() {
        let with = |percent| {
            let mut reading = reading("floor", 1, Some(2e6));
            reading.values.insert(GENERATOR.to_owned(), percent);
            Readings(vec![reading]).table("full", "top", &[], &[])
        };
        assert!(with(95.0).contains("floor: the generator was at 95 % of its core"));
        assert!(!with(60.0).contains("generator"));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let readings = Readings(vec![
            reading("gateway", 1, Some(4e6)),
            reading("floor", 1, Some(2e6)),
            reading("gateway", 2, Some(9e6)),
            reading("floor", 2, Some(3e6)),
            reading("gateway", 3, None),
            reading("floor", 3, Some(1.0)),
        ]);
        let column = Column { value: "deliveries_per_s", title: "M/s", unit: 1e6, is_compared: true };
        let absent = Column { value: "nothing", title: "nothing", ..column };
        let text = readings.table("full", "top", &[column, absent], &["gateway".to_owned()]);
        let expected = "\
| server  |              M/s |
|---------|-----------------:|
| gateway | 6.50 (4.00..9.00) |
| floor   | 2.00 (0.000..3.00) |

| ratio        |          to floor |
|--------------|------------------:|
| gateway: M/s | 2.50 (2.00..3.00) |

gateway failed in round 3: it fell over
";
        let words =
            |text: &str| text.split_whitespace().map(|w| w.trim_matches('-').to_owned()).collect::<Vec<_>>();
        let without_rules = |text: &str| {
            words(&text.lines().filter(|line| !line.starts_with("|-")).collect::<Vec<_>>().join("\n"))
        };
        assert_eq!(without_rules(&text), without_rules(expected));
        assert!(
            text.lines().filter(|line| line.starts_with("|-") && line.ends_with(":|")).count() == 2,
            "{text}"
        );
    }
}
