//! What a run says: a table for people, JSON for machines.
//!
//! Constraint: nothing is left out: every figure with its spread, every goal with its verdict, every measurement that
//! failed with its reason.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    Error,
    goals::{Verdict, verdicts},
    machine::Machine,
    measure::{Failure, Metric, Record, Spread},
    works::Work,
};

/// A run, as JSON.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    machine: &'a Machine,
    scale: &'static str,
    rounds: usize,
    figures: Vec<Figure>,
    goals: Vec<Verdict>,
    failures: &'a [Failure],
}

#[derive(Serialize)]
struct Figure {
    work: &'static str,
    contender: &'static str,
    metric: &'static str,
    unit: &'static str,
    #[serde(flatten)]
    spread: Spread,
    values: Vec<f64>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(machine: &'a Machine, scale: &'static str, rounds: usize, record: &'a Record) -> Self {
        let figure = |(work, contender, metric, spread): (Work, crate::contender::Contender, Metric, Spread)| Figure {
            work: work.name(),
            contender: contender.name(),
            metric: metric.name(),
            unit: metric.unit(),
            spread,
            values: record.values(work, contender, metric).to_vec(),
        };
        let figures = record.iter().map(figure).collect();
        Self { machine, scale, rounds, figures, goals: verdicts(record), failures: record.failures() }
    }

    pub(crate) fn json(&self) -> Result<String, Error> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.machine)?;
        writeln!(out, "{} scale, {} rounds, interleaved; medians [lowest..highest] of the rounds.", self.scale, self.rounds)?;
        for work in Work::ALL {
            let rows: Vec<&Figure> = self.figures.iter().filter(|figure| figure.work == work.name()).collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(out, "\n{}: {}", work.name(), work.title())?;
            for figure in rows {
                let Figure { contender, metric, unit, spread, .. } = figure;
                let median = number(spread.median);
                writeln!(out, "  {contender:<22} {metric:<24} {median:>10} {unit:<3} {}", range(*spread))?;
            }
        }
        if !self.goals.is_empty() {
            writeln!(out, "\n{:<14} {:<44} {:>7} {:>8} {:>18}", "goals", "ratio", "goal", "reached", "")?;
        }
        for Verdict { work, what, goal, ratio, met, always } in &self.goals {
            let verdict = match (met, always) {
                (true, true) => "met",
                (true, false) => "met (median)",
                (false, _) => "MISSED",
            };
            writeln!(out, "{work:<14} {what:<44} {goal:>7} {:>8} {:>18}  {verdict}", number(ratio.median), range(*ratio))?;
        }
        for Failure { work, contender, reason } in self.failures {
            writeln!(out, "\nFAILED {work}, {contender}: {reason}")?;
        }
        Ok(())
    }
}

fn range(spread: Spread) -> String {
    format!("[{}..{}]", number(spread.low), number(spread.high))
}

/// Three significant digits or so.
fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.2} M", value / 1e6)
    } else if value >= 1e4 {
        format!("{:.1} k", value / 1e3)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
