//! Everybody around one broker, step by step.
//!
//! Constraints:
//! - Everything is decided by one seed, in the order of the steps: nobody but this loop draws from it.
//! - What comes out is looked at only when every task has come to rest, at one instant of the paused clock.

use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinHandle;
use waypost_broker::token::TokenKey;
use waypost_store::{
    MemoryDisk,
    testing::{Faults, Odds},
};

use crate::{
    agents::Agent,
    coverage::Seen,
    defects::Plan,
    ledger::{Broken, Ledger, SharedLedger, lock},
    life::{self, DEAD_LETTERS, Life, MAX_UNSETTLED, SETTLED},
    operator::{Operator, named},
    panics,
    publishers::Publisher,
    readers::Reader,
    settlements,
    specs::{NAMES, PROMPT},
};

/// When it all begins, in microseconds since the Unix epoch.
pub(crate) const BEGINNING: u64 = 1_800_000_000_000_000;

/// How long the last troubles of the store may show after their end.
const SETTLES_DOWN: u64 = 1_500_000;

/// Why a life of the broker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was killed, or drained; the next one begins.
    Restart,
    /// All steps are done.
    Over,
}

pub(crate) struct World {
    rng: Rng,
    pub(crate) ledger: SharedLedger,
    disk: MemoryDisk,
    pub(crate) faults: Faults,
    key: TokenKey,
    agents: Vec<Agent>,
    publishers: Vec<Publisher>,
    readers: Vec<Reader>,
    operator: Operator,
    draining: Option<JoinHandle<()>>,
    now: u64,
    pub(crate) step: u64,
    steps: u64,
    troubled_until: u64,
    /// Calls of the store may be slow, or fail.
    is_rough: bool,
}

impl World {
    pub(crate) fn new(seed: u64, steps: u64, plan: Plan) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Two for most; nobody else keeps up those that are left alone.
        let names = NAMES.into_iter().chain(NAMES[..5].iter().copied()).map(Some).chain([Some(NAMES[0]), None, None, Some(PROMPT)]);
        let agents = names.map(|name| Agent::new(name, &mut rng)).collect();
        let ledger = SharedLedger::default();
        Self {
            disk: life::disk(plan.store()),
            faults: Faults::seeded(rng.u64(..), Odds::default()),
            key: TokenKey::new(&rng.u128(..).to_le_bytes()),
            agents,
            publishers: (0..3).map(Publisher::new).collect(),
            readers: (0..2).map(|_| Reader::default()).collect(),
            operator: Operator::default(),
            draining: None,
            now: BEGINNING,
            step: 0,
            steps,
            troubled_until: 0,
            is_rough: false,
            ledger,
            rng,
        }
    }

    pub(crate) fn broken(&self) -> Option<Broken> {
        lock(&self.ledger).broken.clone()
    }

    /// One life of the broker, up to its end or the first broken promise.
    pub(crate) async fn live(&mut self) -> End {
        let entropy = self.rng.u64(..);
        let life = Life::start(&self.disk, &self.faults, &self.ledger, &self.key, self.now, entropy).await;
        lock(&self.ledger).begin_life();
        while self.step < self.steps {
            self.step += 1;
            if self.crashes(&life) {
                return self.end(&life, true);
            }
            self.acts(&life);
            self.pass_time().await;
            self.look(&life).await;
            if self.broken().is_some() {
                return End::Over;
            }
            if self.draining.as_ref().is_some_and(JoinHandle::is_finished) {
                lock(&self.ledger).hit(Seen::Drained);
                return self.end(&life, false);
            }
        }
        self.finish(&life).await;
        End::Over
    }

    fn crashes(&mut self, life: &Life) -> bool {
        if self.rng.u16(0..700) != 0 {
            return false;
        }
        // In the middle of things.
        self.acts(life);
        true
    }

    fn end(&mut self, life: &Life, is_crash: bool) -> End {
        lock(&self.ledger).log(|| format!("the broker ends, by a crash: {is_crash}"));
        let queued = self.disk.queued();
        if is_crash {
            lock(&self.ledger).hit(if queued > 0 { Seen::CrashWithWritesQueued } else { Seen::Crash });
        }
        self.disk.crash(self.rng.usize(0..=queued));
        self.now = life.clock.now() + self.rng.u64(1_000..2_000_000);
        self.lift();
        self.draining = None;
        self.operator.cut_off();
        self.publishers.iter_mut().for_each(Publisher::cut_off);
        self.readers.iter_mut().for_each(Reader::cut_off);
        let mut ledger = lock(&self.ledger);
        self.agents.iter_mut().for_each(|agent| agent.cut_off(&mut ledger));
        End::Restart
    }

    fn acts(&mut self, life: &Life) {
        for _ in 0..self.rng.u8(1..4) {
            match self.rng.u16(0..1000) {
                0..300 => {
                    let index = self.rng.usize(..self.publishers.len());
                    self.publishers[index].publish(life, &mut self.rng);
                }
                300..318 => self.operator.act(life, &mut self.rng, &self.ledger),
                318..325 => self.weather(life),
                325..327 => self.damage(),
                328..350 => {
                    let index = self.rng.usize(..self.readers.len());
                    self.readers[index].act(life, &mut self.rng, &self.ledger);
                }
                327 if self.draining.is_none() && self.rng.u8(0..6) == 0 => self.drain(life),
                _ => {
                    let index = self.rng.usize(..self.agents.len());
                    let taken = self.publishers[0].taken(&mut self.rng, &lock(&self.ledger));
                    self.agents[index].act(life, &mut self.rng, &self.ledger, taken);
                }
            }
        }
        for agent in self.agents.iter_mut().filter(|agent| agent.name == Some(PROMPT)) {
            agent.act(life, &mut self.rng, &self.ledger, None);
        }
    }

    /// The store's troubles come and go.
    fn weather(&mut self, life: &Life) {
        let calm = Odds::default();
        let odds = match self.rng.u8(0..10) {
            0..5 => calm,
            5..8 => Odds { slow: 50, short: 200, delay: Duration::from_millis(50), ..calm },
            8 => Odds { full: 5, lost: 10, done: 10, unavailable: 10, ..Odds::rough() },
            _ => Odds::rough(),
        };
        self.faults.set_odds(odds);
        self.is_rough = odds.slow > 0;
        self.troubled_until = life.clock.now() + self.rng.u64(50_000..2_000_000);
        match self.rng.u8(0..8) {
            0 => self.faults.set_full(true),
            1 => {
                lock(&self.ledger).hit(Seen::StoreDown);
                self.faults.set_down(true);
            }
            _ => {}
        }
    }

    fn damage(&mut self) {
        let mut ledger = lock(&self.ledger);
        let last = ledger.events.last_key_value().map_or(0, |(&last, _)| last);
        let offset = self.rng.u64(last.saturating_sub(40)..=last);
        if self.disk.damage(offset)
            && let Some(stored) = ledger.events.get_mut(&offset)
        {
            stored.lost = true;
            ledger.hit(Seen::Damaged);
        }
    }

    fn drain(&mut self, life: &Life) {
        lock(&self.ledger).draining_since = Some(life.clock.now());
        let broker = life.broker.clone();
        let grace = Duration::from_millis(self.rng.u64(1..800));
        self.draining = Some(tokio::spawn(async move { broker.drain(grace).await }));
    }

    fn lift(&self) {
        self.faults.set_full(false);
        self.faults.set_down(false);
    }

    async fn pass_time(&mut self) {
        let millis = match self.rng.u8(0..100) {
            0..45 => self.rng.u64(1..6),
            45..80 => self.rng.u64(5..40),
            80..97 => self.rng.u64(40..200),
            _ => self.rng.u64(200..1_500),
        };
        rest(Duration::from_millis(millis)).await;
    }

    /// Takes in what came, and checks what must hold.
    async fn look(&mut self, life: &Life) {
        let now = life.clock.now();
        if now >= self.troubled_until {
            self.lift();
        }
        let streaming = self.agents.iter().filter(|agent| agent.is_streaming());
        lock(&self.ledger).streaming = streaming.map(|agent| (agent.session, (agent.name, agent.limit))).collect();
        for agent in &mut self.agents {
            agent.collect_opening(&self.ledger).await;
            agent.listen(&mut lock(&self.ledger), &self.key);
            agent.collect_answers(&self.ledger).await;
        }
        for publisher in &mut self.publishers {
            publisher.collect(&self.ledger).await;
        }
        for reader in &mut self.readers {
            reader.collect(&self.ledger).await;
        }
        self.look_for_prompt(now);
        self.operator.collect(&self.ledger).await;
        if self.step.is_multiple_of(16) {
            self.inspect(life);
        }
        self.check_leases(now);
        let mut ledger = lock(&self.ledger);
        ledger.trace(&now.to_le_bytes());
        if let Some(panic) = panics::take() {
            ledger.hold("P13", false, || panic);
        }
    }

    /// P3, P4: of what clients believe to hold, nothing is held twice, is settled, or is too much.
    fn check_leases(&self, now: u64) {
        let mut ledger = lock(&self.ledger);
        let live = settlements::live(&self.agents, now);
        let mut totals = std::collections::BTreeMap::<u64, usize>::new();
        for (&(incarnation, offset), holders) in &live {
            *totals.entry(incarnation).or_default() += 1;
            ledger.hold("P3", holders.len() == 1, || format!("event {offset} is leased {} times: {holders:?}", holders.len()));
            let Some(interest) = ledger.interests.get(&incarnation) else { continue };
            let is_settled = interest.confirmed.contains(&offset) && holders.iter().any(|(_, token)| token.seek == interest.seek);
            let name = interest.name.clone();
            ledger.hold("P4", !is_settled, || format!("event {offset} of {name} is leased, and it was confirmed as settled"));
        }
        for (incarnation, total) in totals {
            let most =
                ledger.interests.get(&incarnation).and_then(|interest| interest.config.as_ref()).map(|config| config.max_outstanding);
            ledger.hold("P3", most.is_none_or(|most| total <= most as usize), || {
                format!("{total} leases of a subscription with at most {most:?}")
            });
        }
        for agent in self.agents.iter().filter(|agent| agent.stream.is_some() && agent.drained_at == now) {
            let holds = agent.held.values().filter(|holding| !holding.busy && holding.deadline > now).count();
            ledger.hold("P3", holds <= agent.limit as usize, || format!("a session with at most {} holds {holds}", agent.limit));
        }
    }

    /// P12: nobody is slowed down by others.
    fn look_for_prompt(&self, now: u64) {
        let mut ledger = lock(&self.ledger);
        let is_calm = !self.is_rough && now >= self.troubled_until && ledger.draining_since.is_none();
        ledger.calm_since = is_calm.then(|| ledger.calm_since.unwrap_or(now + SETTLES_DOWN));
        let hung = self.agents.iter().filter(|agent| agent.is_deaf(now) && agent.stream.is_some()).count();
        let prompt = self.agents.iter().find(|agent| agent.name == Some(PROMPT));
        if let Some((incarnation, since)) = prompt.and_then(Agent::prompt_since) {
            ledger.check_prompt(incarnation, since, hung);
        }
    }

    /// P12: what a subscription keeps in memory is bounded.
    fn inspect(&self, life: &Life) {
        for handle in life.broker.registry.list().into_iter().filter(|handle| handle.is_running()) {
            let (ledger, shared) = (self.ledger.clone(), life.broker.registry.shared().clone());
            tokio::spawn(async move {
                let Ok(inspection) = handle.inspect(&shared).await else { return };
                let (status, mut ledger) = (inspection.status, lock(&ledger));
                if status.full {
                    ledger.hit(Seen::UnsettledFull);
                }
                ledger.hold("P12", status.unsettled <= MAX_UNSETTLED as usize, || format!("{} unsettled events", status.unsettled));
            });
        }
    }

    /// P2: with willing agents and a healthy store everything is settled.
    async fn finish(&mut self, life: &Life) {
        self.faults.set_odds(Odds::default());
        self.is_rough = false;
        self.lift();
        if self.draining.is_some() {
            return;
        }
        for agent in &mut self.agents {
            agent.be_willing();
        }
        self.settle_all(life).await;
        self.recover(life).await;
        // Once more from rest: whoever waits must be woken.
        for publisher in &mut self.publishers {
            (0..4).for_each(|_| publisher.publish(life, &mut self.rng));
        }
        rest(Duration::from_millis(100)).await;
        self.settle_all(life).await;
    }

    /// P11: with everything settled the store takes events again, and what went is told.
    async fn recover(&mut self, life: &Life) {
        let until = life.clock.now() + DEAD_LETTERS + 2 * SETTLED;
        let is_due = |ledger: &Ledger| ledger.full_since.is_some() || ledger.untold().is_some();
        while life.clock.now() < until && self.broken().is_none() && is_due(&lock(&self.ledger)) {
            self.publishers[0].publish(life, &mut self.rng);
            rest(Duration::from_millis(500)).await;
            self.look(life).await;
        }
        let mut ledger = lock(&self.ledger);
        let full = ledger.full_since;
        ledger.hold("P11", full.is_none(), || format!("the store is full since {full:?}, though everything is settled"));
        let untold = ledger.untold();
        ledger.hold("P11", untold.is_none(), || format!("nobody was told that {untold:?}"));
    }

    async fn settle_all(&mut self, life: &Life) {
        let (mut settled, mut idle) = (0, 0);
        // As long as it gets on.
        while idle < 600 {
            let progress = lock(&self.ledger).closed();
            idle = if progress == settled { idle + 1 } else { 0 };
            settled = progress;
            for agent in &mut self.agents {
                if agent.stream.is_none() && agent.opening.is_none() {
                    agent.open(life);
                } else if agent.stream.is_some() {
                    agent.settle(life, &mut self.rng, &self.ledger, None);
                }
            }
            let paused = named(&lock(&self.ledger)).into_iter().filter(|interest| interest.paused);
            for interest in paused.collect::<Vec<_>>() {
                if self.operator.is_idle() {
                    self.operator.resume(life, &self.ledger, interest.incarnation, &interest.name);
                }
            }
            rest(Duration::from_millis(50)).await;
            self.look(life).await;
            let is_quiet = !self.agents.iter().any(Agent::waits) && self.operator.is_idle();
            if self.broken().is_some() || (is_quiet && lock(&self.ledger).is_finished()) {
                return;
            }
        }
        lock(&self.ledger).finish();
    }
}

/// Lets time pass, and every task come to rest.
async fn rest(span: Duration) {
    tokio::time::sleep(span).await;
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}
