//! What the run was measured on: without it figures mean nothing, and with it they mean little on another machine.

use std::{fmt, fs};

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    kernel: String,
    /// Runnable processes on average over the last minute, before and after the run: more than `cpus`, and others were busy.
    load_before: f64,
    load_after: f64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load_before: load(),
            load_after: f64::NAN,
        }
    }

    pub(crate) fn look_again(&mut self) {
        self.load_after = load();
    }
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, model, kernel, load_before, load_after } = self;
        write!(
            f,
            "{cpus} CPUs ({model}), Linux {kernel}, load {load_before} before and {load_after} after the run; client and servers share them."
        )
    }
}
