//! What is to be seen while it runs: bars that stand still on a terminal, plain lines anywhere else.
//!
//! Constraint: the view shows what it is given, and decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::flow::{AGENTS, Agent};
use crate::verdict::{Progress, Verdict};

/// Without a terminal, a line of progress is printed each time that so many more events are done.
const STEP: usize = 50;

/// How many of the last things worth a line stay to be seen.
const NEWS: usize = 10;

/// What stands still on a terminal.
#[derive(Debug)]
pub(crate) struct Bars {
    /// The last things worth a line, one line each, the oldest first.
    news: VecDeque<String>,
    lines: Vec<ProgressBar>,
    clock: ProgressBar,
    webhooks: ProgressBar,
    agents: BTreeMap<Agent, ProgressBar>,
}

/// Where the run is shown.
#[derive(Debug)]
pub(crate) enum View {
    /// A terminal: the news, a bar for the webhooks and one for each agent.
    Bars(Bars),
    /// Anything else.
    Lines { told: usize },
}

impl View {
    /// On standard output.
    pub(crate) fn new() -> Self {
        if stdout().is_terminal() { Self::Bars(Bars::new()) } else { Self::Lines { told: 0 } }
    }

    /// Something worth a line of its own.
    pub(crate) fn say(&mut self, who: &str, what: &str) {
        match self {
            Self::Bars(bars) => bars.say(format!("{who:<13} {what}")),
            Self::Lines { .. } => println!("{who:<13} {what}"),
        }
    }

    /// The last thing that an agent did, or that was posted.
    pub(crate) fn did(&self, who: &str, what: String) {
        if let Self::Bars(Bars { webhooks, agents, .. }) = self {
            agents.get(who).unwrap_or(webhooks).set_message(what);
        }
    }

    /// How far it is.
    pub(crate) fn show(&mut self, day: u32, posted: Progress, verdict: &Verdict) {
        match self {
            Self::Bars(Bars { clock, webhooks, agents, .. }) => {
                let Verdict { delivered, redelivered, set_aside, .. } = verdict;
                clock.set_message(format!("day {day}: {delivered} delivered, {redelivered} of them again, {set_aside} set aside"));
                place(webhooks, posted);
                for (agent, progress) in &verdict.progress {
                    agents.get(agent).into_iter().for_each(|bar| place(bar, *progress));
                }
            }
            Self::Lines { told } => {
                let done: usize = verdict.progress.values().map(|progress| progress.done).sum();
                if done / STEP > *told / STEP {
                    println!("{:<13} {done} events done by agents, {} of {} webhooks posted", "progress", posted.done, posted.due);
                    *told = done;
                }
            }
        }
    }

    /// Leaves the terminal as it is, below the bars.
    pub(crate) fn end(self) {
        if let Self::Bars(Bars { lines, clock, webhooks, agents, .. }) = self {
            lines.into_iter().chain([clock]).for_each(|line| line.abandon());
            agents.into_values().chain([webhooks]).for_each(|bar| bar.abandon_with_message(""));
            println!();
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let bar = |name: &'static str, template: &str| {
            // The templates are fixed; a wrong one would be seen at once.
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            all.add(ProgressBar::new(0).with_style(style.progress_chars("━╸─")).with_prefix(name))
        };
        let lines = (0..NEWS).map(|_| bar("", "{wide_msg}")).collect();
        let clock = bar("", "\n{spinner:.cyan} {elapsed_precise:.dim}  {msg}");
        clock.enable_steady_tick(Duration::from_millis(120));
        let webhooks = bar("webhooks", "  {prefix:<13.bold} {bar:24.yellow/dim} {pos:>4}/{len:<5} {wide_msg:.dim}");
        let agents = AGENTS.map(|name| (name, bar(name, "  {prefix:<13} {bar:24.green/dim} {pos:>4}/{len:<5} {wide_msg:.dim}"))).into();
        Self { news: VecDeque::new(), lines, clock, webhooks, agents }
    }

    fn say(&mut self, what: String) {
        self.news.push_back(what);
        if self.news.len() > NEWS {
            self.news.pop_front();
        }
        for (line, what) in self.lines.iter().zip(&self.news) {
            line.set_message(what.clone());
        }
    }
}

fn place(bar: &ProgressBar, Progress { done, due }: Progress) {
    bar.set_length(due as u64);
    bar.set_position(done as u64);
}
