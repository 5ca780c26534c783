//! What was measured, as medians of the rounds, and restante's ratio to it: of the same round, at the same number of
//! connections.

use serde_json::{Value, json};

use crate::load::Outcome;

/// One system at one number of connections.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) on_disk: bool,
    /// By round; none where it could not be measured.
    pub(crate) rounds: Vec<Option<Outcome>>,
}

/// What restante is held to: so many times the other's rate.
struct Goal {
    name: &'static str,
    connections: usize,
    at_least: f64,
    aim: f64,
}

impl Row {
    fn median(&self, of: impl Fn(&Outcome) -> f64) -> Option<f64> {
        median(self.rounds.iter().flatten().map(of).collect())
    }

    fn rates(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().flatten().map(|outcome| outcome.rate)
    }

    /// The median of this row's rates by another's, round by round.
    fn ratio_to(&self, other: &Row) -> Option<f64> {
        let both = self.rounds.iter().zip(&other.rounds);
        median(both.filter_map(|(one, other)| Some(one.as_ref()?.rate / other.as_ref()?.rate)).collect())
    }

    fn cells(&self, restante: Option<&Row>) -> Vec<String> {
        let show = |value: Option<f64>, digits: usize| value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"));
        let (least, most) = self.rates().fold((f64::MAX, 0.0), |(least, most), rate| (rate.min(least), rate.max(most)));
        let ratio =
            restante.filter(|restante| !self.name.starts_with(&restante.name)).and_then(|restante| restante.ratio_to(self));
        let system = self.rounds.iter().flatten().filter_map(|outcome| outcome.system_cores).collect();
        vec![
            self.name.clone(),
            self.connections.to_string(),
            show(self.median(|outcome| outcome.rate), 0),
            format!("{least:.0} to {most:.0}"),
            show(ratio, 2),
            show(self.median(|outcome| outcome.p50), 2),
            show(self.median(|outcome| outcome.p99), 2),
            show(self.median(|outcome| outcome.load_cores), 2),
            show(median(system), 2),
            if self.on_disk { "yes" } else { "no" }.into(),
        ]
    }

    fn json(&self, restante: Option<&Row>) -> Value {
        let rounds: Vec<Value> =
            self.rounds.iter().map(|outcome| outcome.as_ref().map_or(Value::Null, Outcome::json)).collect();
        json!({
            "system": self.name,
            "connections": self.connections,
            "on_disk_when_acknowledged": self.on_disk,
            "acknowledged_per_second": self.median(|outcome| outcome.rate),
            "restante_is_times": restante.and_then(|restante| restante.ratio_to(self)),
            "p50_ms": self.median(|outcome| outcome.p50),
            "p99_ms": self.median(|outcome| outcome.p99),
            "load_cores": self.median(|outcome| outcome.load_cores),
            "rounds": rounds,
        })
    }
}

impl Outcome {
    fn json(&self) -> Value {
        json!({
            "acknowledged_per_second": self.rate, "p50_ms": self.p50, "p99_ms": self.p99,
            "load_cores": self.load_cores, "system_cores": self.system_cores,
        })
    }
}

/// The row of restante that one is compared with: of the same errand, at as many connections.
fn restante<'a>(rows: &'a [Row], name: &str, connections: usize) -> Option<&'a Row> {
    let ours = if name.ends_with(TAKEN) { format!("restante{TAKEN}") } else { "restante".into() };
    rows.iter().find(|row| row.name == ours && row.connections == connections)
}

/// The table of everything, and the one of what is aimed at.
pub(crate) fn tables(rows: &[Row]) -> String {
    let measured = rows.iter().filter(|row| row.rates().next().is_some());
    let cells: Vec<Vec<String>> = measured.map(|row| row.cells(restante(rows, &row.name, row.connections))).collect();
    let goals: Vec<Vec<String>> = goals(rows)
        .map(|(goal, ratio)| {
            let met = if ratio >= goal.aim {
                "aim met"
            } else if ratio >= goal.at_least {
                "met"
            } else {
                "missed"
            };
            let (connections, ratio) = (goal.connections.to_string(), format!("{ratio:.2}"));
            vec![goal.name.into(), connections, ratio, format!("{:.2}", goal.at_least), format!("{:.2}", goal.aim), met.into()]
        })
        .collect();
    let mut text = table(&HEADS, &cells);
    if !goals.is_empty() {
        text += "\n";
        text += &table(&["restante against", "connections", "ratio", "at least", "aim", ""], &goals);
    }
    text
}

pub(crate) fn json(rows: &[Row]) -> Value {
    let goals: Vec<Value> = goals(rows)
        .map(|(goal, ratio)| {
            json!({
                "restante_against": goal.name, "connections": goal.connections, "ratio": ratio,
                "at_least": goal.at_least, "aim": goal.aim, "met": ratio >= goal.at_least,
            })
        })
        .collect();
    let rows: Vec<Value> = rows.iter().map(|row| row.json(restante(rows, &row.name, row.connections))).collect();
    json!({"systems": rows, "goals": goals})
}

/// Those whose both sides were measured.
fn goals(rows: &[Row]) -> impl Iterator<Item = (&'static Goal, f64)> {
    GOALS.iter().filter_map(|goal| {
        let other = rows.iter().find(|row| row.name == goal.name && row.connections == goal.connections)?;
        let restante = restante(rows, goal.name, goal.connections)?;
        // The shim's is restante itself, slowed: there the other is the measure.
        let ratio = if goal.name == SLOWED { other.ratio_to(restante) } else { restante.ratio_to(other) };
        Some((goal, ratio?))
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((lower + upper) / 2.0)
}

/// The first column to the left, numbers to the right.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    line(heads.to_vec()) + &rows.collect::<String>()
}

const HEADS: [&str; 10] = [
    "system",
    "connections",
    "acked/s",
    "rounds",
    "restante is ×",
    "p50 ms",
    "p99 ms",
    "load cores",
    "system cores",
    "on disk",
];
/// What the systems are called whose errand is a send and its taking.
const TAKEN: &str = ", taken too";
/// The relay with the shim.
pub(crate) const SLOWED: &str = "restante, fsync + 5 ms";
const GOALS: [Goal; 5] = [
    Goal { name: "bare warp route", connections: 64, at_least: 0.25, aim: 0.35 },
    Goal { name: "Redis Streams", connections: 64, at_least: 0.7, aim: 1.0 },
    Goal { name: "nostr-rs-relay", connections: 64, at_least: 10.0, aim: 15.0 },
    Goal { name: "RabbitMQ", connections: 64, at_least: 4.0, aim: 6.0 },
    Goal { name: SLOWED, connections: 256, at_least: 0.4, aim: 0.6 },
];
